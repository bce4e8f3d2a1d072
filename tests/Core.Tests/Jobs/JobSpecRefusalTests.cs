using Platform.Core.Jobs;
using Xunit;

namespace Platform.Core.Tests.Jobs;

public sealed class JobSpecRefusalTests
{
    [Theory]
    [InlineData("parallelism.tensor", "3", "3 does not divide model.num_attention_heads (8) and model.num_key_value_heads (4); use 1, 2 or 4.")]
    [InlineData("parallelism.tensor", "8", "8 does not divide model.num_attention_heads (8) and model.num_key_value_heads (4); use 1, 2 or 4.")]
    [InlineData("parallelism.pipeline", "5", "5 stages are more than model.num_hidden_layers (4); use at most 4.")]
    [InlineData("training.global_batch_size", "7", "7 is not a multiple of parallelism.data × parallelism.micro_batch_size (2 × 2 = 4); use 4 or 8.")]
    [InlineData("training.global_batch_size", "3", "3 is not a multiple of parallelism.data × parallelism.micro_batch_size (2 × 2 = 4); use 4.")]
    [InlineData("model.num_key_value_heads", "3", "3 does not divide model.num_attention_heads (8); use 1, 2, 4 or 8.")]
    [InlineData("model.hidden_size", "60", "60 is not a multiple of model.num_attention_heads (8); change one of them or give head_dim.")]
    [InlineData("model.hidden_size", "24", "24 over 8 heads leaves an odd head size of 3; rotary positions need an even one.")]
    [InlineData("model.head_dim", "7", "7 is odd; rotary positions need an even size.")]
    [InlineData("data.sequence_length", "4096", "4096 is more than model.max_position_embeddings (2048); shorten one or raise the other.")]
    [InlineData("training.eval_every", "5", "Evaluation every 5 steps needs held-out text; set data.eval_fraction above 0, or this to 0.")]
    [InlineData("optimizer.min_lr", "0.1", "0.1 is more than optimizer.lr (0.001); allowed is 0 to 0.001.")]
    [InlineData("optimizer.warmup_steps", "11", "11 is more than training.steps (10); allowed is 0 to 10.")]
    public void Refuses_fields_that_do_not_fit_each_other(string field, string value, string message)
    {
        var violation = JobInputs.RefusedOnce(JobInputs.With(
            ("parallelism.data", "2"), ("parallelism.micro_batch_size", "2"), (field, value)));

        Assert.Equal($"{field}: {message}", violation.ToString());
    }

    [Fact]
    public void Refuses_a_tensor_width_that_does_not_divide_the_mlp()
    {
        var violation = JobInputs.RefusedOnce(JobInputs.With(("parallelism.tensor", "4"), ("model.intermediate_size", "98")));

        Assert.Equal("parallelism.tensor: 4 does not divide model.intermediate_size (98); use 1 or 2.", violation.ToString());
    }

    [Theory]
    [InlineData("model.hidden_size", "0", "0 is out of range; allowed is 1 to 1048576.")]
    [InlineData("model.hidden_size", "1.5", "1.5 is not a whole number; allowed is 1 to 1048576.")]
    [InlineData("parallelism.tensor", "\"two\"", "\"two\" is not a whole number; allowed is 1 to 1024.")]
    [InlineData("parallelism.data", "0", "0 is out of range; allowed is 1 to 65536.")]
    [InlineData("parallelism.zero_stage", "4", "4 is out of range; allowed is 0 to 3.")]
    [InlineData("training.steps", "0", "0 is out of range; allowed is 1 to 1000000000.")]
    [InlineData("training.steps", "99999999999999999999", "99999999999999999999 is not a whole number; allowed is 1 to 1000000000.")]
    [InlineData("training.seed", "-1", "-1 is out of range; allowed is 0 to 9223372036854775807.")]
    [InlineData("data.eval_fraction", "0.6", "0.6 is out of range; allowed is at least 0 and at most 0.5.")]
    [InlineData("optimizer.lr", "0", "0 is out of range; allowed is above 0 and at most 10.")]
    [InlineData("optimizer.lr", "\"NaN\"", "\"NaN\" is not a number; allowed is above 0 and at most 10.")]
    [InlineData("training.z_loss_coefficient", "2", "2 is out of range; allowed is at least 0 and at most 1.")]
    [InlineData("training.loss_guard.window", "1", "1 is out of range; allowed is 2 to 100000.")]
    [InlineData("optimizer.betas", "[0.9]", "Found a list; expected a list of two numbers, each at least 0 and below 1.")]
    [InlineData("checkpoint.keep", "0", "0 is out of range; allowed is 1 to 1000000.")]
    [InlineData("checkpoint.async", "\"maybe\"", "\"maybe\" is neither true nor false.")]
    [InlineData("resources.device_share", "1.5", "1.5 is out of range; allowed is at least 0.001 and at most 1.")]
    [InlineData("resources.device_memory", "\"40 gigs\"", "\"40 gigs\" is not a size; write a number with a unit, such as 512MiB or 40GiB.")]
    [InlineData("resources.memory", "\"1KiB\"", "\"1KiB\" is too small; allowed is 1MiB and more.")]
    [InlineData("training.precision", "\"fp16\"", "\"fp16\" is not one of bf16, fp32, fp64.")]
    [InlineData("data.format", "\"parquet\"", "\"parquet\" is not one of text, jsonl, chat, tokens.")]
    [InlineData("parallelism.schedule", "\"1f1\"", "\"1f1\" is not one of gpipe, 1f1b, interleaved; did you mean 1f1b?")]
    [InlineData("name", "\"Docs LM\"", "\"Docs LM\" is not a name; use 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends.")]
    [InlineData("name", "\"\"", "The text is empty; remove the key or give it a value.")]
    [InlineData("name", "12", "Found 12; expected text. Put it in quotes if it is meant as text.")]
    [InlineData("data.source", "[]", "The list is empty; name at least one file, directory or glob.")]
    [InlineData("resources.ranks", "4", "Only a CommandJob has this key; a TrainingJob has tensor × pipeline × data ranks of one device each.")]
    [InlineData("image", "\"busybox\"", "Only a CommandJob has this key; a TrainingJob does not run a program of its own.")]
    [InlineData("kind", "\"TrainJob\"", "\"TrainJob\" is not one of TrainingJob; did you mean TrainingJob?")]
    public void Refuses_a_value_and_says_what_is_allowed(string field, string value, string message) =>
        Assert.Equal($"{field}: {message}", JobInputs.RefusedOnce(JobInputs.With((field, value))).ToString());

    [Theory]
    [InlineData("optimizer.betas", "[0.9, 1]", "optimizer.betas[1]: 1 is not allowed; expected a number at least 0 and below 1.")]
    [InlineData("data.source", "[\"a\", 3]", "data.source[1]: Found 3; expected text that is not empty.")]
    public void Names_the_element_of_a_list(string field, string value, string expected) =>
        Assert.Equal(expected, JobInputs.RefusedOnce(JobInputs.With((field, value))).ToString());

    [Theory]
    [InlineData("parallelism.tensr", "parallelism.tensor")]
    [InlineData("model.hiddenSize", "model.hidden_size")]
    [InlineData("model.num_layers", "model.num_hidden_layers")]
    [InlineData("training.lr", "optimizer.lr")]
    [InlineData("trainig", "training")]
    [InlineData("batch_size", "training.global_batch_size")]
    [InlineData("output.deploy.engine_config.max_num_seq", "output.deploy.engine_config.max_num_seqs")]
    public void Names_the_nearest_known_key(string field, string nearest)
    {
        var violation = JobInputs.RefusedOnce(JobInputs.With((field, "1")));

        Assert.Equal($"{field}: This key is not known; did you mean {nearest}?", violation.ToString());
    }

    [Fact]
    public void Reports_a_mistyped_key_once_and_not_also_as_missing()
    {
        var input = JobInputs.With(("training.step", "10"));
        input["training"]?.AsObject().Remove("steps");

        Assert.Equal("training.step: This key is not known; did you mean training.steps?", JobInputs.RefusedOnce(input).ToString());
    }

    [Fact]
    public void Does_not_judge_other_fields_by_a_value_that_was_mistyped()
    {
        var violation = JobInputs.RefusedOnce(JobInputs.With(("parallelism.data", "\"x\""), ("training.global_batch_size", "7")));

        Assert.Equal("parallelism.data", violation.Field);
    }

    [Theory]
    [InlineData("output.deploy.scaling_config.device", "\"cuda\"")]
    public void Says_that_a_feature_is_not_available_yet(string field, string value)
    {
        var violation = JobInputs.RefusedOnce(JobInputs.With((field, value)));

        Assert.Equal(field, violation.Field);
        Assert.Contains("not available yet", violation.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Reads_which_nodes_a_job_may_run_on()
    {
        var plain = JobInputs.Accepted(JobInputs.With()).Resources;
        Assert.False(plain.AllowsSpot || plain.Ephemeral);
        Assert.Null(plain.NodeGroup);

        var own = JobInputs.Accepted(JobInputs.With(
            ("resources.spot", "\"allowed\""), ("resources.node_group", "\"burst\""), ("resources.cluster", "\"ephemeral\""))).Resources;
        Assert.True(own.AllowsSpot && own.Ephemeral);
        Assert.Equal("burst", own.NodeGroup);
        Assert.Equal("resources.cluster", JobInputs.RefusedOnce(JobInputs.With(("resources.cluster", "\"mine\""))).Field);
    }

    [Fact]
    public void Refuses_constants_of_an_optimizer_that_is_not_used()
    {
        Assert.Equal("optimizer.muon", JobInputs.RefusedOnce(JobInputs.With(("optimizer.muon", "{\"momentum\":0.9}"))).Field);

        var job = JobInputs.Accepted(JobInputs.With(("optimizer.name", "\"muon\""), ("optimizer.muon", "{\"momentum\":0.9}")));
        Assert.Equal(new MuonSpec { Momentum = 0.9 }, job.Optimizer.Muon);
    }

    [Fact]
    public void Refuses_virtual_stages_without_the_interleaved_schedule() =>
        Assert.Contains(
            JobInputs.Refused(JobInputs.With(("parallelism.virtual_stages", "2"))),
            violation => violation.Field == "parallelism.virtual_stages");

    [Fact]
    public void Interleaving_needs_micro_batches_in_multiples_of_the_stages()
    {
        var violation = JobInputs.RefusedOnce(JobInputs.With(
            ("parallelism", """{"pipeline":2,"data":2,"micro_batch_size":2,"schedule":"interleaved","virtual_stages":2}"""),
            ("training.global_batch_size", "12")));

        Assert.Equal(
            "parallelism.schedule: The interleaved schedule needs a multiple of parallelism.pipeline (2) micro-batches; "
            + "training.global_batch_size over parallelism.data × parallelism.micro_batch_size (12 / 4) gives 3. "
            + "Use a global_batch_size of 8 or 16, or 1f1b.",
            violation.ToString());
    }

    [Fact]
    public void Accepts_interleaving_with_micro_batches_in_multiples_of_the_stages()
    {
        var layout = JobInputs.Accepted(JobInputs.With(
            ("parallelism", """{"pipeline":2,"data":2,"schedule":"interleaved","virtual_stages":2}"""))).Parallelism;

        Assert.Equal((PipelineSchedule.Interleaved, 2), (layout.Schedule, layout.VirtualStages));
    }

    [Fact]
    public void Sequence_parallelism_needs_tokens_that_divide_among_the_ranks_of_a_tensor_group()
    {
        var violation = JobInputs.RefusedOnce(JobInputs.With(
            ("parallelism", """{"tensor":4,"micro_batch_size":2,"sequence_parallel":true}"""), ("data.sequence_length", "33")));

        Assert.Equal(
            "parallelism.sequence_parallel: The ranks of a tensor group share the tokens of a micro-batch: parallelism.micro_batch_size × "
            + "data.sequence_length (2 × 33 = 66) is not a multiple of parallelism.tensor (4). Change one of them, or use false.",
            violation.ToString());
        Assert.True(JobInputs.Accepted(JobInputs.With(
            ("parallelism", """{"tensor":4,"micro_batch_size":2,"sequence_parallel":true}"""), ("data.sequence_length", "34"))).Parallelism.SequenceParallel);
    }

    [Fact]
    public void Accepts_a_layout_that_is_left_open_in_either_form()
    {
        Assert.True(JobInputs.Accepted(JobInputs.With(("parallelism", "\"auto\""))).Parallelism.Auto);
        Assert.True(JobInputs.Accepted(JobInputs.With(("parallelism", "{\"auto\":true}"))).Parallelism.Auto);
        Assert.Contains("write auto", JobInputs.RefusedOnce(JobInputs.With(("parallelism", "\"best\""))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Accepts_what_is_switched_off_explicitly() =>
        JobInputs.Accepted(JobInputs.With(
            ("parallelism.auto", "false"), ("parallelism.zero_stage", "0"), ("parallelism.sequence_parallel", "false"),
            ("parallelism.virtual_stages", "1"), ("resources.spot", "\"forbidden\""), ("lora", "null")));
}
