using CsCheck;
using Platform.Core.Specs;
using Xunit;

namespace Platform.Core.Tests.Specs;

public sealed class NearestNameTests
{
    [Theory]
    [InlineData("tensr", "tensor")]
    [InlineData("tesnor", "tensor")]
    [InlineData("Tensor", "tensor")]
    [InlineData("pipelines", "pipeline")]
    [InlineData("microBatchSize", "micro_batch_size")]
    public void Finds_what_was_meant(string name, string meant) =>
        Assert.Equal(meant, NearestName.Of(name, ["data", "tensor", "pipeline", "micro_batch_size"]));

    [Fact]
    public void Has_no_answer_without_candidates() => Assert.Null(NearestName.Of("x", []));

    [Fact]
    public void Finds_a_name_itself_before_any_other() =>
        Gen.String[Gen.Char["abcd"], 1, 6].Array[1, 6].Sample(names => NearestName.Of(names[^1], names) == names[^1]);
}
