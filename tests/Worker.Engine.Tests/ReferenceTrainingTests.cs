using Platform.Core.Jobs;
using Platform.Core.Models;
using Platform.Formats.Checkpoints;
using Platform.Formats.HuggingFace;
using Platform.Torch;
using Platform.Torch.Models.Llama;
using Platform.Worker.Engine.Data;
using Platform.Worker.Engine.Planning;
using TorchSharp;
using Xunit;

namespace Platform.Worker.Engine.Tests;

/// <summary>The engine on one rank against a plain model, autograd, and AdamW written out.</summary>
public sealed class ReferenceTrainingTests
{
    [Fact]
    public void Training_is_the_plain_model_with_autograd_and_adamw()
    {
        using var directory = new TemporaryDirectory();
        var text = directory.Write("text.txt", Gang.SomeText(3000));
        var job = Gang.Job(text, 1, 1, 1, Precision.Float64, steps: 8);
        using var host = new RecordingHost();
        Gang.Run(job, directory.Path, host);

        var dataset = Directory.GetDirectories(Path.Combine(directory.Path, "datasets")).Single();
        using var data = Dataset.Open(dataset);
        var config = HuggingFaceConfig.Read(Path.Combine(directory.Path, host.Models.Single().Directory, HuggingFaceConfig.FileName)).Model;
        var losses = PlainLosses(job, config, data.Shards[0]);

        foreach (var (point, (loss, norm)) in host.Points.Zip(losses))
        {
            Assert.Equal(loss, point.Loss, 1e-9 * loss);
            Assert.Equal(norm, point.GradNorm, 1e-8 * norm);
        }
    }

    [Theory]
    [InlineData(Precision.Float32, 2, 2)]
    [InlineData(Precision.Float64, 1, 1)]
    public void The_exported_model_has_the_logits_of_the_trained_one(Precision precision, int tensor, int pipeline)
    {
        using var directory = new TemporaryDirectory();
        var job = Gang.Job(directory.Write("text.txt", Gang.SomeText(3000)), tensor, pipeline, 1, precision, steps: 10);
        using var host = new RecordingHost();
        Gang.Run(job, directory.Path, host);

        using var scope = torch.NewDisposeScope();
        var exported = Path.Combine(directory.Path, host.Models.Single().Directory);
        var config = HuggingFaceConfig.Read(Path.Combine(exported, HuggingFaceConfig.FileName)).Model;
        using var files = LlamaWeightFiles.Open(exported);
        using var served = new LlamaModel(
            config, parameter => files.Read(parameter, parameter.Whole, torch.ScalarType.Float32), torch.ScalarType.Float32, torch.CPU);
        using var reader = CheckpointReader.Open(Path.Combine(directory.Path, host.Checkpoints.Last().Directory), CheckpointVerification.Hashes);
        using var trained = new LlamaModel(config, parameter => Exact(reader, parameter, precision), torch.ScalarType.Float64, torch.CPU);
        using var without = torch.no_grad();
        var tokens = torch.randint(0, config.VocabSize, [3, 12], dtype: torch.ScalarType.Int64);

        var difference = served.Forward(tokens, false).Logits_BTV.to_type(torch.ScalarType.Float64) - trained.Forward(tokens, false).Logits_BTV;

        Assert.True(difference.abs().max().item<double>() < 1e-4);
        Assert.True(File.Exists(Path.Combine(exported, "tokenizer.json")));
        Assert.Contains("<|im_start|>", File.ReadAllText(Path.Combine(exported, "tokenizer_config.json")), StringComparison.Ordinal);
        Assert.Equal([256], config.EosTokenIds);
    }

    private static torch.Tensor Exact(CheckpointReader reader, LlamaParameter parameter, Precision precision)
    {
        var tensor = TensorMemory.Empty([.. parameter.Shape], precision.ToScalarType());
        long[] starts = new long[parameter.Shape.Length];
        reader.ReadSlice(parameter.Name, starts, [.. parameter.Shape], TensorMemory.Bytes(tensor));
        return tensor.to_type(torch.ScalarType.Float64);
    }

    /// <summary>Loss and gradient norm of each step of a loop that knows nothing of the engine but the order of the data.</summary>
    private static List<(double Loss, double Norm)> PlainLosses(TrainingJobSpec job, ModelConfig config, TokenFile tokens)
    {
        using var scope = torch.NewDisposeScope();
        using var model = LlamaModel.Initialise(config, job.Training.Seed, torch.ScalarType.Float64, torch.CPU);
        var weights = model.Weights.Values.ToList();
        weights.ForEach(weight => weight.requires_grad_());
        var first = weights.Select(weight => torch.zeros_like(weight)).ToList();
        var second = weights.Select(weight => torch.zeros_like(weight)).ToList();
        var length = job.Data.SequenceLength;
        var order = new DataOrder(job.Training.Seed, tokens.Sequences(length), job.Data.EvalFraction, job.Training.GlobalBatchSize);
        var results = new List<(double, double)>();
        for (var step = 1; step <= job.Training.Steps; step++)
        {
            var batch = order.GlobalBatch(step);
            var (inputs, targets) = (new long[batch.Length * length], new long[batch.Length * length]);
            for (var i = 0; i < batch.Length; i++)
                tokens.Read(batch[i], inputs.AsSpan(i * length, length), targets.AsSpan(i * length, length));
            long[] shape = [batch.Length, length];
            var loss = model.Loss(torch.tensor(inputs).view(shape), torch.tensor(targets).view(shape));
            var gradients = torch.autograd.grad([loss], weights);
            using var without = torch.no_grad();
            var norm = Math.Sqrt(gradients.Sum(gradient => gradient.square().sum().item<double>()));
            results.Add((loss.item<double>(), norm));
            var clip = Math.Min(1, job.Optimizer.GradClip / norm);
            var rate = LearningRate.At(job.Optimizer, job.Training.Steps, step);
            for (var i = 0; i < weights.Count; i++)
            {
                var gradient = gradients[i] * clip;
                first[i].mul_(job.Optimizer.Beta1).add_(gradient * (1 - job.Optimizer.Beta1));
                second[i].mul_(job.Optimizer.Beta2).add_(gradient.square() * (1 - job.Optimizer.Beta2));
                if (weights[i].dim() > 1)
                    weights[i].mul_(1 - (rate * job.Optimizer.WeightDecay));
                var mean = first[i] / (1 - Math.Pow(job.Optimizer.Beta1, step));
                var root = (second[i] / (1 - Math.Pow(job.Optimizer.Beta2, step))).sqrt() + job.Optimizer.Eps;
                weights[i].sub_(mean / root * rate);
            }
        }

        return results;
    }
}
