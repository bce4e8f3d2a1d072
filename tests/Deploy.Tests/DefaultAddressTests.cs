using Xunit;

namespace Platform.Deploy.Tests;

/// <summary>Scheduler, agents and gateways that are told nothing about one another, on one machine.</summary>
public sealed class DefaultAddressTests
{
    [Fact]
    public void Agents_and_gateways_look_for_the_scheduler_where_it_listens()
    {
        var scheduler = $"http://{Default("Scheduler:Listen")}";
        Assert.Equal(scheduler, Default("Agent:SchedulerAddress"));
        Assert.Equal(scheduler, Default("Gateway:SchedulerAddress"));
    }

    [Fact]
    public void No_two_services_listen_on_the_same_port()
    {
        var addresses = OptionKeys.All.Values.Where(option => option.Key.EndsWith("Listen", StringComparison.Ordinal))
            .Select(option => option.Default.Trim('"')).Where(address => address.Length > 0 && !address.EndsWith(":0", StringComparison.Ordinal)).ToList();
        Assert.True(addresses.Count >= 4);
        Assert.Equal(addresses.Count, addresses.Distinct().Count());
    }

    private static string Default(string key) => OptionKeys.All[key].Default.Trim('"');
}
