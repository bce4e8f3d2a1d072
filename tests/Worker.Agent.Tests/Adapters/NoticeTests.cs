using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Platform.Hosting;
using Platform.Hosting.Network;
using Platform.Testing;
using Xunit;

namespace Platform.Worker.Agent.Tests.Adapters;

/// <summary>A machine that is about to be taken away.</summary>
public sealed class NoticeTests
{
    [Fact]
    public async Task Tells_the_scheduler_of_a_notice_in_a_file_without_waiting_for_the_next_renewal()
    {
        using var directory = new TemporaryDirectory();
        string file = directory.File("notice");
        await using TestNode node = await TestNode.StartAsync(TimeSpan.FromHours(1), "exec sleep 1000", "--Agent:NoticeFile", file);
        Assert.Null(node.Scheduler.LeavesIn);

        await File.WriteAllTextAsync(file, "3600", TestContext.Current.CancellationToken);
        await Waiting.UntilAsync(() => node.Scheduler.LeavesIn is not null, "notice");

        Assert.InRange(node.Scheduler.LeavesIn!.Value.TotalSeconds, 3000, 3600);
    }

    [Fact]
    public async Task Asks_an_address_until_it_answers_with_a_notice()
    {
        WebApplicationBuilder builder = PlatformHost.CreateBuilder("metadata", []);
        builder.Logging.ClearProviders();
        builder.ListenHttp("http", ListenAddress.Loopback);
        await using WebApplication metadata = builder.Build();
        int asked = 0;
        metadata.MapGet("/notice", () => Interlocked.Increment(ref asked) == 1 ? Results.NotFound() : Results.Text("900"));
        await metadata.StartAsync(TestContext.Current.CancellationToken);
        await using TestNode node = await TestNode.StartAsync(
            TimeSpan.FromHours(1), "exec sleep 1000", "--Agent:NoticeUrl", $"{metadata.Address("http")}/notice");

        await Waiting.UntilAsync(() => node.Scheduler.LeavesIn is not null, "notice");

        Assert.True(asked >= 2);
    }
}
