using System.Diagnostics;
using Microsoft.Extensions.Logging.Abstractions;
using Platform.Core.Gangs;
using Platform.Hosting.Bus;
using Platform.Hosting.Telemetry;
using Platform.Internal.V1;
using Platform.Testing.Telemetry;
using Xunit;

namespace Platform.Hosting.Tests.Telemetry;

public sealed class TracingTests
{
    private static readonly ActivitySource Source = new("Platform.Tests");

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task One_trace_connects_a_call_the_service_that_answers_it_a_bus_message_and_its_handler()
    {
        await using OtlpReceiver collector = await OtlpReceiver.StartAsync();
        await using MassTransitBus bus = MassTransitBus.InMemory(NullLoggerFactory.Instance);
        var handled = new TaskCompletionSource<string?>(TaskCreationOptions.RunContinuationsAsynchronously);
        await using IAsyncDisposable receiver = await bus.ReceiveAsync(
            "traced",
            [
                MessageHandler.For<PrepareGang>((message, _) =>
                {
                    using Activity? work = Source.StartActivity("handle");
                    using Activity? rank = Source.Continue("rank", message.Assignment.TraceParent);
                    handled.SetResult(rank?.TraceId.ToString());
                    return Task.CompletedTask;
                }),
            ],
            Token);
        await using TestService service = await TestService.StartAsync(
            async (_, context) =>
            {
                await bus.SendAsync(
                    "traced", new PrepareGang(BusContract() with { TraceParent = TraceContext.Current }), context.CancellationToken);
                return new HelloResponse();
            },
            ["--Telemetry:OtlpEndpoint", collector.Endpoint]);
        string traceId;
        using (Activity? call = Source.StartActivity("cli"))
        {
            Assert.NotNull(call);
            traceId = call.TraceId.ToString();
            await service.Client.HelloAsync(new HelloRequest(), cancellationToken: Token);
            Assert.Equal(traceId, await handled.Task);
        }

        ReceivedSpan handle = await collector.WaitForAsync(s => s.Name == "handle" && s.TraceId == traceId, "handle");
        ReceivedSpan rank = await collector.WaitForAsync(s => s.Name == "rank" && s.TraceId == traceId, "rank");
        await collector.WaitForAsync(s => s.Name == "cli" && s.TraceId == traceId, "cli");
        string[] path = [.. collector.AncestorsOf(handle).Select(s => s.Source)];
        Assert.Contains("MassTransit", path);
        Assert.Contains("Microsoft.AspNetCore", path);
        Assert.Equal("Platform.Tests", path[^1]);
        Assert.Equal("Microsoft.AspNetCore", collector.AncestorsOf(rank)[0].Source);
        Assert.All(collector.Spans, s => Assert.Equal("platform-test", s.Service));
    }

    [Fact]
    public void A_trace_parent_that_is_no_trace_parent_starts_a_new_trace()
    {
        Assert.Equal(default, TraceContext.Parse("nonsense"));
        Assert.Equal(default, TraceContext.Parse(null));
        Assert.Equal("0af7651916cd43dd8448eb211c80319c", TraceContext.Parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").TraceId.ToString());
    }

    private static GangAssignment BusContract() => Bus.BusContract.Assignment(1);
}
