using System.Text.Json.Nodes;
using Platform.Core.Jobs;
using Xunit;

namespace Platform.Core.Tests.Jobs;

public sealed class JobSpecReaderTests
{
    [Fact]
    public void Fills_in_the_defaults_of_a_short_job()
    {
        var job = JobInputs.Accepted(JobInputs.Good());

        Assert.Equal("default", job.Queue);
        Assert.Equal(100, job.Priority);
        Assert.Equal(["corpus/*.txt"], job.Data.Source);
        Assert.IsType<TokenizerSpec.Bytes>(job.Data.Tokenizer);
        Assert.Equal(new ParallelismSpec(), job.Parallelism);
        Assert.Equal(new OptimizerSpec(), job.Optimizer);
        Assert.Equal(new CheckpointSpec(), job.Checkpoint);
        Assert.Equal(new ResourceSpec(), job.Resources);
        Assert.Equal(new RetrySpec(), job.Retries);
        Assert.Equal(new OutputSpec(), job.Output);
        Assert.Equal(new TrainingSpec { Steps = 10, GlobalBatchSize = 8 }, job.Training);
    }

    [Fact]
    public void Gives_each_query_head_its_own_key_head_unless_told_otherwise()
    {
        var input = JobInputs.Good();
        input["model"]?.AsObject().Remove("num_key_value_heads");

        Assert.Equal(8, JobInputs.Accepted(input).Model.NumKeyValueHeads);
    }

    [Fact]
    public void Takes_numbers_as_strings_and_with_exponents()
    {
        var job = JobInputs.Accepted(JobInputs.With(
            ("training.seed", "\"9223372036854775807\""), ("training.steps", "1e3"), ("optimizer.lr", "\"2e-3\""), ("checkpoint.async", "\"false\"")));

        Assert.Equal(long.MaxValue, job.Training.Seed);
        Assert.Equal(1000, job.Training.Steps);
        Assert.Equal(2e-3, job.Optimizer.Lr);
        Assert.False(job.Checkpoint.Async);
    }

    [Theory]
    [InlineData("\"byte\"")]
    [InlineData("{\"byte\":true}")]
    [InlineData("null")]
    public void Reads_bytes_as_tokens(string tokenizer) =>
        Assert.IsType<TokenizerSpec.Bytes>(JobInputs.Accepted(JobInputs.With(("data.tokenizer", tokenizer))).Data.Tokenizer);

    [Theory]
    [InlineData("\"models/tiny\"")]
    [InlineData("{\"path\":\"models/tiny\"}")]
    public void Reads_a_tokenizer_directory(string tokenizer) =>
        Assert.Equal(new TokenizerSpec.Directory("models/tiny"), JobInputs.Accepted(JobInputs.With(("data.tokenizer", tokenizer))).Data.Tokenizer);

    [Fact]
    public void Reads_a_tokenizer_to_train() =>
        Assert.Equal(
            new TokenizerSpec.TrainBpe(4096),
            JobInputs.Accepted(JobInputs.With(("data.tokenizer", """{"train":"bpe","vocab_size":4096}"""))).Data.Tokenizer);

    [Theory]
    [InlineData("{\"train\":\"bpe\"}", "data.tokenizer.vocab_size", "required")]
    [InlineData("{\"train\":\"bpe\",\"vocab_size\":100}", "data.tokenizer.vocab_size", "257")]
    [InlineData("{\"train\":\"bpee\",\"vocab_size\":300}", "data.tokenizer.train", "\"bpee\" is not one of bpe")]
    [InlineData("{\"train\":\"bpe\",\"vocab_size\":300,\"byte\":true}", "data.tokenizer", "Several kinds")]
    [InlineData("{\"vocab_size\":300}", "data.tokenizer.vocab_size", "train: bpe")]
    [InlineData("{}", "data.tokenizer", "No kind")]
    [InlineData("\"bpe\"", "data.tokenizer", "vocab_size: 4096")]
    [InlineData("7", "data.tokenizer", "Found 7")]
    public void Refuses_a_tokenizer_it_cannot_tell(string tokenizer, string field, string message)
    {
        var violation = JobInputs.RefusedOnce(JobInputs.With(("data.tokenizer", tokenizer)));

        Assert.Equal(field, violation.Field);
        Assert.Contains(message, violation.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Reads_every_section()
    {
        var job = JobInputs.Accepted(JobInputs.With(
            ("queue", "\"research\""),
            ("priority", "7"),
            ("parallelism", """{"tensor":2,"pipeline":2,"data":2,"micro_batch_size":4,"schedule":"gpipe"}"""),
            ("training", """{"steps":300,"global_batch_size":32,"precision":"fp32","activation_checkpointing":"full","seed":7,"eval_every":100}"""),
            ("data", """{"source":["a","b/*.jsonl"],"format":"jsonl","sequence_length":128,"eval_fraction":0.01}"""),
            ("optimizer", """{"name":"adamw","lr":1e-3,"min_lr":0,"schedule":"wsd","warmup_steps":30,"weight_decay":0.2,"betas":[0.8,0.9],"eps":1e-6,"grad_clip":0}"""),
            ("checkpoint", """{"every_steps":0,"keep":3,"async":false}"""),
            ("resources", """{"device":"cpu","device_share":0.25,"device_memory":"40GiB","memory":"512MiB","topology":{"tensor":"block","pipeline":"rack","data":"zone"},"expected_runtime_s":90,"spot":"forbidden"}"""),
            ("retries", """{"max_restarts":0}"""),
            ("output", """{"register_as":"docs","deploy":{"engine_config":{"kv_cache_bytes":"64MiB"}}}""")));

        Assert.Equal(new ParallelismSpec { Tensor = 2, Pipeline = 2, Data = 2, MicroBatchSize = 4, Schedule = PipelineSchedule.GPipe }, job.Parallelism);
        Assert.Equal(
            new TrainingSpec { Steps = 300, GlobalBatchSize = 32, Precision = Precision.Float32, ActivationCheckpointing = "full", Seed = 7, EvalEvery = 100 },
            job.Training);
        Assert.Equal(["a", "b/*.jsonl"], job.Data.Source);
        Assert.Equal(LearningRateSchedule.WarmupStableDecay, job.Optimizer.Schedule);
        Assert.Equal((0.8, 0.9, 1e-6, 0.0), (job.Optimizer.Beta1, job.Optimizer.Beta2, job.Optimizer.Eps, job.Optimizer.GradClip));
        Assert.Equal(new CheckpointSpec { EverySteps = 0, Keep = 3, Async = false }, job.Checkpoint);
        Assert.Equal(
            new ResourceSpec { DeviceMilli = 250, DeviceMemoryBytes = 40L << 30, MemoryBytes = 512L << 20, TensorTopology = "block", PipelineTopology = "rack", DataTopology = "zone", ExpectedRuntimeSeconds = 90 }, job.Resources);
        Assert.Equal(0, job.Retries.MaxRestarts);
        Assert.Equal("docs", job.Output.Deploy?.Model);
        Assert.Equal(64L << 20, job.Output.Deploy?.Engine.KvCacheBytes);
    }

    [Fact]
    public void Lowers_the_default_final_learning_rate_to_a_small_peak() =>
        Assert.Equal(5e-5, JobInputs.Accepted(JobInputs.With(("optimizer.lr", "5e-5"))).Optimizer.MinLr);

    [Fact]
    public void Deploys_under_the_job_s_name_when_no_other_is_given() =>
        Assert.Equal("docs-lm", JobInputs.Accepted(JobInputs.With(("output.deploy", "{}"))).Output.Deploy?.Model);

    [Fact]
    public void Asks_for_everything_that_is_missing_from_an_empty_job()
    {
        var fields = JobInputs.Refused(new JsonObject()).Select(violation => violation.Field);

        Assert.Equal(
            [
                "data.source", "kind", "model.hidden_size", "model.intermediate_size", "model.num_attention_heads",
                "model.num_hidden_layers", "name", "training.global_batch_size", "training.steps",
            ],
            fields.Order(StringComparer.Ordinal));
    }

    [Theory]
    [InlineData("[1]")]
    [InlineData("\"text\"")]
    [InlineData("3")]
    public void Refuses_an_input_that_is_not_an_object(string input) =>
        Assert.Contains("expected keys with values", JobInputs.RefusedOnce(JobInputs.Parse(input)).Message, StringComparison.Ordinal);

    [Fact]
    public void Refuses_a_section_that_is_not_an_object_without_asking_for_its_keys()
    {
        var violation = JobInputs.RefusedOnce(JobInputs.With(("model", "\"llama\"")));

        Assert.Equal("model: Found \"llama\"; expected keys with values.", violation.ToString());
    }

    [Fact]
    public void Says_where_a_deployment_belongs()
    {
        var violation = JobInputs.RefusedOnce(JobInputs.Parse("""{"kind":"Deployment","model":"x"}"""));

        Assert.Equal("kind", violation.Field);
        Assert.Contains("deploy", violation.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Reports_violations_in_the_order_of_the_input()
    {
        var violations = JobInputs.Refused(JobInputs.With(
            ("data.sequence_length", "0"), ("model.hidden_size", "-1"), ("training.steps", "\"many\""), ("model.rope", "1")));

        Assert.Equal(
            ["model.hidden_size", "model.rope", "data.sequence_length", "training.steps"],
            violations.Select(violation => violation.Field));
    }
}
