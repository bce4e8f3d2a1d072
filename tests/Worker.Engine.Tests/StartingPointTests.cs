using System.Text.Json;
using Platform.Core.Gangs;
using Platform.Core.Jobs;
using Platform.Formats.Checkpoints;
using Platform.Formats.HuggingFace;
using Platform.Formats.Safetensors;
using Platform.Torch;
using Platform.Torch.Models.Llama;
using Platform.Torch.Parallel.Layers;
using Platform.Worker.Engine.Data;
using Platform.Worker.Engine.Training;
using TorchSharp;
using Xunit;

namespace Platform.Worker.Engine.Tests;

/// <summary>Whole jobs that begin at somebody's model: all weights or adapters, on text or on conversations, on several layouts.</summary>
public sealed class StartingPointTests
{
    private static readonly (int Tensor, int Pipeline, int Data)[] Layouts = [(2, 1, 1), (1, 3, 1), (2, 1, 2)];

    [Theory]
    [InlineData("llama", torch.ScalarType.Float32)]
    [InlineData("mistral", torch.ScalarType.Float16)]
    [InlineData("qwen2", torch.ScalarType.BFloat16)]
    [InlineData("qwen3", torch.ScalarType.Float32)]
    public void Every_layout_continues_from_the_files_of_a_model_as_one_rank_does(string architecture, torch.ScalarType stored)
    {
        using var directory = new TemporaryDirectory();
        var config = BaseModel.Family(architecture);
        var from = BaseModel.Write(Path.Combine(directory.Path, "base"), config, stored);
        var alone = Train(directory, Job(directory, from), (1, 1, 1));

        Assert.Equal(FirstLoss(directory, Job(directory, from), from), alone.Points.First().Loss, 1e-10);
        foreach (var layout in Layouts)
            AssertSame(alone, Train(directory, Job(directory, from), layout), 1e-9);
        var split = Job(directory, from);
        AssertSame(alone, Train(directory, split with { Parallelism = split.Parallelism with { SequenceParallel = true, ZeroStage = 3 } }, (2, 1, 2)), 1e-9);

        // The source's keys survive, and so does its tokenizer, byte for byte.
        var exported = Exported(directory, alone);
        var kept = HuggingFaceConfig.Read(Path.Combine(exported, HuggingFaceConfig.FileName));
        Assert.Equal(config with { EosTokenIds = [] }, kept.Model with { EosTokenIds = [] });
        Assert.Equal([256], kept.Model.EosTokenIds);
        Assert.Equal(0.9, GenerationConfig.Read(Path.Combine(exported, GenerationConfig.FileName)).TopP);
        Assert.Equal(File.ReadAllBytes(Path.Combine(from, "tokenizer.json")), File.ReadAllBytes(Path.Combine(exported, "tokenizer.json")));
    }

    [Fact]
    public void Adapters_train_alike_on_every_layout_and_merge_into_what_was_trained()
    {
        using var directory = new TemporaryDirectory();
        var from = BaseModel.Write(Path.Combine(directory.Path, "base"), BaseModel.Family("qwen2"), torch.ScalarType.Float32);
        var job = Job(directory, from) with
        {
            Lora = new LoraSpec { Rank = 4, Alpha = 8, TargetModules = ["q_proj", "v_proj", "o_proj", "gate_proj", "down_proj"] },
            Optimizer = new OptimizerSpec { Lr = 2e-2, WarmupSteps = 1 },
        };
        var alone = Train(directory, job, (1, 1, 1));
        Assert.Equal(FirstLoss(directory, job, from), alone.Points.First().Loss, 1e-10);
        Assert.True(alone.Points.Last().Loss < 0.99 * alone.Points.First().Loss, $"{alone.Points.First().Loss} → {alone.Points.Last().Loss}");
        foreach (var layout in Layouts)
            AssertSame(alone, Train(directory, job, layout), 1e-9);

        foreach (var stage in new[] { 1, 3 })
            AssertSame(alone, Train(directory, job with { Parallelism = job.Parallelism with { ZeroStage = stage } }, (2, 1, 2)), 1e-9);
        AssertSame(alone, Train(directory, job with { Parallelism = job.Parallelism with { SequenceParallel = true } }, (2, 1, 1)), 1e-9);

        // Only adapters are in a checkpoint.
        using (var reader = CheckpointReader.Open(Path.Combine(Artifacts(directory, (1, 1, 1)), alone.Checkpoints.Last().Directory), CheckpointVerification.Hashes))
        {
            Assert.Equal(3 * 2 * 5 * 3, reader.Manifest.Tensors.Count);
            Assert.All(reader.Manifest.Tensors.Keys, name => Assert.Contains("lora_", name, StringComparison.Ordinal));
        }

        var merged = Exported(directory, alone);
        var adapter = Path.Combine(merged, "adapter");
        AssertPeftLayout(adapter, from);
        AssertMerged(from, adapter, merged, scale: 2);
    }

    /// <summary>Muon moves factors along whole orthogonalised matrices: those of a tensor group are put together first.</summary>
    [Fact]
    public void Muon_moves_adapters_alike_on_every_layout()
    {
        using var directory = new TemporaryDirectory();
        var from = BaseModel.Write(Path.Combine(directory.Path, "base"), BaseModel.Family("qwen2"), torch.ScalarType.Float32);
        var job = Job(directory, from) with
        {
            Lora = new LoraSpec { Rank = 4, Alpha = 8, TargetModules = ["q_proj", "v_proj", "o_proj", "gate_proj", "down_proj"] },
            Optimizer = new OptimizerSpec { Name = "muon", Muon = new MuonSpec(), Lr = 2e-2, WarmupSteps = 1 },
        };
        var alone = Train(directory, job, (1, 1, 1));
        Assert.True(alone.Points.Last().Loss < 0.99 * alone.Points.First().Loss, $"{alone.Points.First().Loss} → {alone.Points.Last().Loss}");
        foreach (var layout in Layouts)
            AssertSame(alone, Train(directory, job, layout), 1e-7);
        AssertSame(alone, Train(directory, job with { Parallelism = job.Parallelism with { ZeroStage = 1 } }, (2, 1, 2)), 1e-7);
        AssertMerged(from, Path.Combine(Exported(directory, alone), "adapter"), Exported(directory, alone), scale: 2);
    }

    [Fact]
    public void Adapters_resume_from_a_checkpoint_of_another_layout()
    {
        using var directory = new TemporaryDirectory();
        var from = BaseModel.Write(Path.Combine(directory.Path, "base"), BaseModel.Family("llama"), torch.ScalarType.Float32);
        var job = Job(directory, from) with { Lora = new LoraSpec { Rank = 2 }, Checkpoint = new CheckpointSpec { EverySteps = 3 } };
        var through = Train(directory, job, (1, 1, 1));
        var artifacts = Artifacts(directory, (1, 1, 1));
        var middle = through.Checkpoints.First();
        Assert.Equal(3, middle.Step);

        using var host = new RecordingHost();
        Gang.Run(job with { Parallelism = job.Parallelism with { Tensor = 2, Pipeline = 3 } }, artifacts, host, attempt: 2, resumeFrom: middle.Directory);

        Assert.Equal([4, 5, 6], host.Points.Select(point => point.Step));
        foreach (var (expected, found) in through.Points.Skip(3).Zip(host.Points))
            Assert.Equal(expected.Loss, found.Loss, 1e-10);
    }

    [Fact]
    public void Conversations_count_what_the_assistant_says_only_on_every_layout()
    {
        using var directory = new TemporaryDirectory();
        var from = BaseModel.Write(Path.Combine(directory.Path, "base"), BaseModel.Family("llama"), torch.ScalarType.Float64);
        var lines = string.Concat(Enumerable.Range(0, 30).Select(i =>
            $$"""{"messages":[{"role":"user","content":"{{new string('q', 1 + (i * 7 % 13))}}"},{"role":"assistant","content":"{{new string('a', 1 + (i % 5))}}"}]}""" + "\n"));
        var job = Job(directory, from);
        job = job with { Data = job.Data with { Source = [directory.Write("chat.jsonl", lines)], Format = "chat" } };

        var alone = Train(directory, job, (1, 1, 1));

        Assert.Equal(FirstLoss(directory, job, from), alone.Points.First().Loss, 1e-10);
        foreach (var layout in Layouts)
            AssertSame(alone, Train(directory, job, layout), 1e-9);
        AssertSame(alone, Train(directory, job with { Training = job.Training with { Precision = Precision.Float32 } }, (2, 1, 1)), 1e-4);
        Assert.Equal([256, 258], GenerationConfig.Read(Path.Combine(Exported(directory, alone), GenerationConfig.FileName)).EosTokenIds);
    }

    [Fact]
    public void A_mixture_is_trained_and_evaluated_alike_on_every_layout()
    {
        using var directory = new TemporaryDirectory();
        var from = BaseModel.Write(Path.Combine(directory.Path, "base"), BaseModel.Family("llama"), torch.ScalarType.Float64);
        var (a, b) = (directory.Write("a.txt", Gang.SomeText(1200)), directory.Write("b.txt", new string('b', 700)));
        var job = Job(directory, from);
        job = job with { Data = job.Data with { Source = [a, b], EvalFraction = 0.2, Mixture = [new(a, 3), new(b, 1)] }, Training = job.Training with { EvalEvery = 2 } };

        var alone = Train(directory, job, (1, 1, 1));

        Assert.All(alone.Points, point => Assert.Equal(point.Step % 2 == 0, point.EvalLoss is not null));
        foreach (var layout in Layouts)
            AssertSame(alone, Train(directory, job, layout), 1e-9);
    }

    [Theory]
    [InlineData("qwen3")]
    [InlineData("qwen2")]
    public void Every_architecture_trains_from_scratch_with_rows_to_spare(string architecture)
    {
        using var directory = new TemporaryDirectory();
        var job = Gang.Job(directory.Write("text.txt", Gang.SomeText(2000)), 1, 1, 1, Precision.Float64, steps: 4);
        job = job with { Model = job.Model with { Architecture = architecture, VocabSize = 288 } };

        var alone = Train(directory, job, (1, 1, 1));

        AssertSame(alone, Train(directory, job, (2, 1, 1)), 1e-9);
        using var model = BaseModel.Load(Exported(directory, alone));
        Assert.Equal((architecture, 288), (model.Config.Architecture, model.Config.VocabSize));
    }

    [Fact]
    public void What_cannot_be_continued_from_is_refused_for_good_with_the_reason()
    {
        using var directory = new TemporaryDirectory();
        var from = BaseModel.Write(Path.Combine(directory.Path, "base"), BaseModel.Shape, torch.ScalarType.Float32, maxShardBytes: long.MaxValue);

        Assert.Contains("there is no config.json", Refusal(Job(directory, Path.Combine(directory.Path, "nothing"))), StringComparison.Ordinal);

        var other = Path.Combine(directory.Path, "tokenizer");
        Directory.CreateDirectory(other);
        Text.Tokenization.TokenizerDirectory.ForOwn(Text.Tokenization.ByteLevelBpeModel.Bytes(["<|endoftext|>"])).Save(other);
        var mismatched = Job(directory, from);
        Assert.Contains("it has 257 tokens, and that of the model", Refusal(
            mismatched with { Data = mismatched.Data with { Tokenizer = new TokenizerSpec.Directory(other) } }), StringComparison.Ordinal);

        var config = Path.Combine(from, HuggingFaceConfig.FileName);
        File.WriteAllText(config, File.ReadAllText(config).Replace("\"intermediate_size\":48", "\"intermediate_size\":64", StringComparison.Ordinal)
            .Replace("\"intermediate_size\": 48", "\"intermediate_size\": 64", StringComparison.Ordinal));
        Assert.Contains("mlp.gate_proj.weight", Refusal(Job(directory, from)), StringComparison.Ordinal);
        Assert.Contains("[64, 32]", Refusal(Job(directory, from)), StringComparison.Ordinal);

        string Refusal(TrainingJobSpec job)
        {
            using var host = new RecordingHost();
            var refused = Assert.Throws<InputUnreadableException>(() => Gang.Run(job, directory.Path, host));
            Assert.Equal((FailureCode.InputUnreadable, true), (RankFailure.Of(refused).Code, RankFailure.Of(refused).IsPermanent));
            return refused.Message;
        }
    }

    [Fact]
    public void A_layout_that_does_not_fit_the_model_is_refused_with_the_field()
    {
        using var directory = new TemporaryDirectory();
        var from = BaseModel.Write(Path.Combine(directory.Path, "base"), BaseModel.Shape, torch.ScalarType.Float32);
        using var host = new RecordingHost();

        var refused = Assert.Throws<PlanRefusedException>(() => Gang.Run(
            Job(directory, from) with { Parallelism = new ParallelismSpec { Pipeline = 4 } }, directory.Path, host));

        Assert.Equal(["parallelism.pipeline"], refused.Violations.Select(violation => violation.Field));
    }

    private static TrainingJobSpec Job(TemporaryDirectory directory, string from)
    {
        var job = Gang.Job(directory.Write("text.txt", Gang.SomeText(1500)), 1, 1, 1, Precision.Float64, steps: 6);
        return job with
        {
            Model = new ModelSpec { From = from },
            Data = job.Data with { Tokenizer = new TokenizerSpec.OfModel(), EvalFraction = 0 },
            Training = job.Training with { EvalEvery = 0 },
        };
    }

    private static string Artifacts(TemporaryDirectory directory, (int, int, int) layout) => Path.Combine(directory.Path, $"artifacts-{layout}");

    private static RecordingHost Train(TemporaryDirectory directory, TrainingJobSpec job, (int Tensor, int Pipeline, int Data) layout)
    {
        using var host = new RecordingHost();
        Gang.Run(
            job with { Parallelism = job.Parallelism with { Tensor = layout.Tensor, Pipeline = layout.Pipeline, Data = layout.Data } },
            Artifacts(directory, layout), host);
        return host;
    }

    private static string Exported(TemporaryDirectory directory, RecordingHost alone) =>
        Path.Combine(Artifacts(directory, (1, 1, 1)), alone.Models.Single().Directory);

    private static void AssertSame(RecordingHost expected, RecordingHost found, double tolerance)
    {
        Assert.Equal(expected.Points.Select(point => point.Step), found.Points.Select(point => point.Step));
        foreach (var (e, f) in expected.Points.Zip(found.Points))
        {
            Assert.Equal(e.Loss, f.Loss, tolerance * e.Loss);
            Assert.Equal(e.GradNorm, f.GradNorm, 10 * tolerance * e.GradNorm);
            Assert.Equal(e.EvalLoss ?? 0, f.EvalLoss ?? 0, tolerance * e.Loss);
        }
    }

    /// <summary>Loss of the plain model on the first batch, over the targets that count.</summary>
    private static double FirstLoss(TemporaryDirectory directory, TrainingJobSpec job, string from)
    {
        using var scope = torch.NewDisposeScope();
        using var dataset = Dataset.Open(Directory.GetDirectories(Path.Combine(Artifacts(directory, (1, 1, 1)), "datasets")).Single());
        var data = new TrainingData(job, dataset.Shards);
        var batch = data.Load(data.GlobalBatch(1), torch.CPU, staging: null);
        using var model = BaseModel.Load(from);
        var logits = model.Forward(batch.Tokens_N.view(batch.Sequences, -1), false).Logits_BTV.view(-1, model.Config.VocabSize);
        return torch.nn.functional.cross_entropy(logits, batch.Targets_N, ignore_index: VocabularyParallelLoss.MaskedTarget).item<double>();
    }

    private static void AssertPeftLayout(string adapter, string from)
    {
        using var file = SafetensorsFile.Open(Path.Combine(adapter, "adapter_model.safetensors"));
        var expected =
            from layer in Enumerable.Range(0, 3)
            from module in new[] { ("self_attn.q_proj", 32, 32), ("self_attn.v_proj", 32, 16), ("self_attn.o_proj", 32, 32), ("mlp.gate_proj", 32, 48), ("mlp.down_proj", 48, 32) }
            from factor in new[] { ("lora_A", $"[4, {module.Item2}]"), ("lora_B", $"[{module.Item3}, 4]") }
            select $"base_model.model.model.layers.{layer}.{module.Item1}.{factor.Item1}.weight {factor.Item2}";
        Assert.Equal(expected.Order(StringComparer.Ordinal), file.Tensors.Select(tensor => $"{tensor.Name} {tensor.Shape}").Order(StringComparer.Ordinal));

        var config = JsonDocument.Parse(File.ReadAllText(Path.Combine(adapter, "adapter_config.json"))).RootElement;
        Assert.Equal("LORA", config.GetProperty("peft_type").GetString());
        Assert.Equal("CAUSAL_LM", config.GetProperty("task_type").GetString());
        Assert.Equal((4, 8.0, 0.0), (config.GetProperty("r").GetInt32(), config.GetProperty("lora_alpha").GetDouble(), config.GetProperty("lora_dropout").GetDouble()));
        Assert.Equal(["down_proj", "gate_proj", "o_proj", "q_proj", "v_proj"], config.GetProperty("target_modules").EnumerateArray().Select(name => name.GetString()));
        Assert.Equal(from, config.GetProperty("base_model_name_or_path").GetString());
        Assert.Equal("none", config.GetProperty("bias").GetString());
    }

    private static void AssertMerged(string from, string adapter, string merged, double scale)
    {
        using var scope = torch.NewDisposeScope();
        using var without = torch.no_grad();
        using var weights = SafetensorsFile.Open(Path.Combine(adapter, "adapter_model.safetensors"));
        using var served = BaseModel.Load(merged);
        using var source = LlamaWeightFiles.Open(from);
        using var kept = LlamaWeightFiles.Open(merged);
        var adapted = 0;
        using var expected = new LlamaModel(served.Config, parameter =>
        {
            var weight = source.Read(parameter, parameter.Whole, torch.ScalarType.Float64);
            var name = "base_model.model." + parameter.Name.Replace(".weight", "", StringComparison.Ordinal);
            if (!weights.Contains(name + ".lora_A.weight"))
            {
                var (before, after) = (source.Read(parameter, parameter.Whole, torch.ScalarType.Float32), kept.Read(parameter, parameter.Whole, torch.ScalarType.Float32));
                Assert.True(TensorMemory.Bytes(before).SequenceEqual(TensorMemory.Bytes(after)), $"{parameter.Name} changed.");
                return weight;
            }

            adapted++;
            return weight + (Factor(name + ".lora_B.weight").mm(Factor(name + ".lora_A.weight")) * scale);
        }, torch.ScalarType.Float64, torch.CPU);
        Assert.Equal(15, adapted);
        var tokens = torch.randint(0, 256, [2, 12], dtype: torch.ScalarType.Int64);

        var logits = expected.Forward(tokens, false).Logits_BTV;
        var difference = (served.Forward(tokens, false).Logits_BTV - logits).abs().max().item<double>();
        using var plain = BaseModel.Load(from);
        var moved = (plain.Forward(tokens, false).Logits_BTV - logits).abs().max().item<double>();

        Assert.True(difference < 1e-5, $"Merged logits differ by {difference:e2}.");
        Assert.True(moved > 1e-2, $"The adapter moved the logits by {moved:e2} only.");

        torch.Tensor Factor(string name)
        {
            var entry = weights.Entry(name);
            return TensorMemory.FromSpan(
                System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(weights.Span(name)), [.. entry.Shape], torch.ScalarType.Float32).to_type(torch.ScalarType.Float64);
        }
    }
}
