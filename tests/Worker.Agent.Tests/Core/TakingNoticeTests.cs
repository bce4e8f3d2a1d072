using Platform.Worker.Agent.Core;
using Xunit;

namespace Platform.Worker.Agent.Tests.Core;

public sealed class TakingNoticeTests
{
    private static readonly DateTimeOffset Seen = new(2030, 1, 1, 12, 0, 0, TimeSpan.Zero);

    [Theory]
    [InlineData("30", 30)]
    [InlineData(" 12.5\n", 12.5)]
    [InlineData("2030-01-01T12:01:00Z", 60)]
    [InlineData("""{"action":"terminate","time":"2030-01-01T12:00:45Z"}""", 45)]
    [InlineData("""{"time": 5}""", 5)]
    [InlineData("", 120)]
    [InlineData("{ half", 120)]
    [InlineData("soon", 120)]
    public void Reads_how_long_the_machine_has_left(string text, double seconds) =>
        Assert.Equal(Seen.AddSeconds(seconds), TakingNotice.Read(text, Seen, TimeSpan.FromSeconds(120)));
}
