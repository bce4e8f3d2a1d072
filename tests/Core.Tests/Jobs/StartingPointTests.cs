using Platform.Core.Jobs;
using Platform.Core.Models;
using Xunit;

namespace Platform.Core.Tests.Jobs;

public sealed class StartingPointTests
{
    private static readonly ModelConfig Small = new()
    {
        Architecture = "qwen2",
        VocabSize = 300,
        HiddenSize = 64,
        IntermediateSize = 96,
        NumHiddenLayers = 2,
        NumAttentionHeads = 6,
        NumKeyValueHeads = 2,
        HeadDim = 16,
        MaxPositionEmbeddings = 128,
    };

    [Fact]
    public void A_model_to_continue_from_brings_shape_and_tokenizer()
    {
        var job = JobInputs.Accepted(JobInputs.With(("model", """{"from":"docs-lm"}"""), ("lora", "{}")));

        Assert.Equal("docs-lm", job.Model.From);
        Assert.IsType<TokenizerSpec.OfModel>(job.Data.Tokenizer);
        Assert.Equal((16, 32.0), (job.Lora?.Rank, job.Lora?.Alpha));
        Assert.Equal(["q_proj", "v_proj"], job.Lora?.TargetModules);
        var written = JobSpecWriter.ToJson(job);
        Assert.Equal(written.ToJsonString(), JobSpecWriter.ToJson(JobInputs.Accepted(written)).ToJsonString());
    }

    [Fact]
    public void Adapters_mixtures_and_padded_vocabularies_survive_writing_and_reading()
    {
        var job = JobInputs.Accepted(JobInputs.With(
            ("model.vocab_size", "5000"), ("model.architecture", "\"qwen3\""), ("data.source", """["/a/*.txt","/b.x"]"""),
            ("data.mixture", """{"/b.x":3,"/a/*.txt":0.5}"""), ("data.format", "\"jsonl\"")));
        Assert.Equal([new MixtureWeight("/a/*.txt", 0.5), new MixtureWeight("/b.x", 3)], job.Data.Mixture);
        Assert.Equal(5000, job.Model.VocabSize);

        var tuned = JobInputs.Accepted(JobInputs.With(
            ("model", """{"from":"/models/base"}"""), ("lora", """{"rank":4,"target_modules":["down_proj","k_proj"]}"""), ("data.format", "\"chat\"")));
        Assert.Equal(8, tuned.Lora?.Alpha);
        Assert.Equal(["k_proj", "down_proj"], tuned.Lora?.TargetModules);

        foreach (var written in new[] { job, tuned }.Select(JobSpecWriter.ToJson))
            Assert.Equal(written.ToJsonString(), JobSpecWriter.ToJson(JobInputs.Accepted(written)).ToJsonString());
    }

    [Theory]
    [InlineData("lora", """{"rank":4}""", "lora", "Adapters need a model to adapt")]
    [InlineData("lora", """{"target_modules":["lm_head"]}""", "lora.target_modules", "has no adapter")]
    [InlineData("lora", """{"rank":0}""", "lora.rank", "out of range")]
    [InlineData("lora", """{"rnk":4}""", "lora.rnk", "did you mean lora.rank?")]
    [InlineData("model.from", "\"docs-lm\"", "model.from", "brings its own shape; remove hidden_size")]
    [InlineData("data.mixture", """{"other":1}""", "data.mixture", "is not an entry of data.source")]
    [InlineData("data.mixture", """{"corpus/*.txt":0}""", "data.mixture.corpus/*.txt", "out of range")]
    [InlineData("model.vocab_size", "0", "model.vocab_size", "out of range")]
    public void Refuses_what_does_not_fit_and_says_why(string field, string json, string blamed, string says)
    {
        var violations = JobInputs.Refused(JobInputs.With((field, json)));

        Assert.Contains(violations, violation => violation.Field == blamed && violation.Message.Contains(says, StringComparison.Ordinal));
    }

    [Fact]
    public void A_tokenizer_cannot_be_trained_for_a_model_that_has_one_or_on_tokens()
    {
        const string Bpe = """{"train":"bpe","vocab_size":400}""";
        Assert.Equal("data.tokenizer", JobInputs.RefusedOnce(JobInputs.With(("model", """{"from":"m"}"""), ("data.tokenizer", Bpe))).Field);
        Assert.Equal("data.tokenizer", JobInputs.RefusedOnce(JobInputs.With(("data.format", "\"tokens\""), ("data.tokenizer", Bpe))).Field);
        Assert.Equal("model.vocab_size", JobInputs.RefusedOnce(JobInputs.With(("model.vocab_size", "399"), ("data.tokenizer", Bpe))).Field);
    }

    [Theory]
    [InlineData(2, 1, 128, null)]
    [InlineData(4, 1, 128, "parallelism.tensor")]
    [InlineData(1, 3, 128, "parallelism.pipeline")]
    [InlineData(1, 1, 129, "data.sequence_length")]
    public void A_layout_is_checked_against_the_model_once_it_is_known(int tensor, int pipeline, int length, string? blamed)
    {
        var job = JobInputs.Accepted(JobInputs.With(
            ("model", """{"from":"m"}"""), ("parallelism.tensor", $"{tensor}"), ("parallelism.pipeline", $"{pipeline}"), ("data.sequence_length", $"{length}")));

        Assert.Equal(blamed is null ? [] : [blamed], StartingPointRules.Check(job, Small).Select(violation => violation.Field));
        Assert.Empty(StartingPointRules.Check(
            job with { Parallelism = new ParallelismSpec() }, Small with { RopeScaling = new RopeScaling("dynamic", 2) }));
    }
}
