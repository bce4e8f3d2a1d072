using System.Globalization;
using Xunit;

namespace Platform.Simulation.Tests;

/// <summary>
/// Rules that hold after every random event: no device share has two owners, no gang runs in part, quotas hold, nobody makes
/// room to and fro. <c>PLATFORM_SIM_EVENTS</c> sets how many events there are in all, <c>PLATFORM_SIM_FIRST</c> the first
/// seed. A seed that ever failed is kept below by its number.
/// </summary>
public sealed class ControlStormTests(ITestOutputHelper output)
{
    private const int DefaultEvents = 24_000;
    private const int EventsPerSeed = 2_000;

    [Fact]
    public void Every_rule_holds_after_every_event()
    {
        int events = Number("PLATFORM_SIM_EVENTS", DefaultEvents), first = Number("PLATFORM_SIM_FIRST", 1);
        var results = Enumerable.Range(first, Math.Max(1, events / EventsPerSeed)).Select(seed => ControlStorm.Run(seed, EventsPerSeed)).ToList();
        string what = $"{results.Count} seeds from {first}: {results.Sum(result => (long)result.Events)} events, {results.Sum(result => result.Placed)} attempts placed, "
            + $"{results.Sum(result => result.Made)} made room, {results.Sum(result => result.Failures)} failures, {results.Sum(result => result.Succeeded)} succeeded, "
            + $"{results.Sum(result => result.QuotaChanges)} changes of quotas, {results.Sum(result => result.Drains)} drains";
        output.WriteLine(what);
        Assert.True(results.All(result => result is { Placed: > 40, Failures: > 5, QuotaChanges: > 20, Drains: > 20 }), $"{what}: some storm was no storm");
        Assert.True(results.Sum(result => result.Made) > results.Count && results.Sum(result => result.Succeeded) > results.Count, $"{what}: too little happened");
    }

    [Fact]
    public void The_same_seed_gives_the_same_storm()
    {
        Assert.Equal(ControlStorm.Run(3, 1000), ControlStorm.Run(3, 1000));
        Assert.NotEqual(ControlStorm.Run(3, 1000).Trace, ControlStorm.Run(4, 1000).Trace);
    }

    private static int Number(string variable, int otherwise) =>
        int.TryParse(Environment.GetEnvironmentVariable(variable), NumberStyles.None, CultureInfo.InvariantCulture, out int value) ? value : otherwise;
}
