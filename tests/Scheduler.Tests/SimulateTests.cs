using System.Text.Json.Nodes;
using Google.Protobuf;
using Grpc.Core;
using Platform.Scheduler.Tests.Fixtures;
using Platform.V1;
using Xunit;

namespace Platform.Scheduler.Tests;

/// <summary>Replays of traces by the service.</summary>
public sealed class SimulateTests
{
    [Fact]
    public async Task Replays_a_trace_on_the_present_cluster_and_draws_it()
    {
        await using var cluster = await TestCluster.StartAsync(nodes: 1);
        var request = new SimulateRequest
        {
            Trace = ByteString.CopyFromUtf8("""
                {"gang":"a","submit_s":0,"duration_s":60,"data":3,"device":"cpu"}
                {"gang":"b","submit_s":10,"duration_s":30,"data":4,"device":"cpu"}
                """),
            DrawTimeline = true,
        };

        var response = await cluster.Nodes.SimulateAsync(request);

        var report = JsonNode.Parse(response.Report);
        Assert.Equal((4, 2, 50.0), ((int?)report?["devices"], (int?)report?["finished"], (double?)report?["waitSeconds"]?["max"]));
        Assert.StartsWith("<svg", response.Timeline, StringComparison.Ordinal);
        var refused = await Assert.ThrowsAsync<RpcException>(async () => await cluster.Nodes.SimulateAsync(new SimulateRequest { Trace = ByteString.CopyFromUtf8("{}") }));
        Assert.Equal(StatusCode.InvalidArgument, refused.StatusCode);
        Assert.Contains("duration_s is missing", refused.Status.Detail, StringComparison.Ordinal);
    }
}
