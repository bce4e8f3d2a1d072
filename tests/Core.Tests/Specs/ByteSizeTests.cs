using CsCheck;
using Platform.Core.Specs;
using Xunit;

namespace Platform.Core.Tests.Specs;

public sealed class ByteSizeTests
{
    [Theory]
    [InlineData("512MiB", 512L << 20)]
    [InlineData("40GiB", 40L << 30)]
    [InlineData("1.5 GiB", 3L << 29)]
    [InlineData("2gib", 2L << 30)]
    [InlineData("40GB", 40_000_000_000)]
    [InlineData("1000", 1000)]
    [InlineData("7B", 7)]
    [InlineData("0", 0)]
    public void Reads_sizes_with_and_without_units(string text, long bytes)
    {
        Assert.True(ByteSize.TryParse(text, out var read));
        Assert.Equal(bytes, read);
    }

    [Theory]
    [InlineData("")]
    [InlineData("GiB")]
    [InlineData("-1GiB")]
    [InlineData("0.3B")]
    [InlineData("1e3")]
    [InlineData("9999999999TiB")]
    [InlineData("5 apples")]
    public void Refuses_what_is_not_a_size(string text) => Assert.False(ByteSize.TryParse(text, out _));

    [Fact]
    public void Writes_sizes_exactly() =>
        Gen.Long[0, long.MaxValue].Sample(bytes => ByteSize.TryParse(ByteSize.Format(bytes), out var back) && back == bytes);
}
