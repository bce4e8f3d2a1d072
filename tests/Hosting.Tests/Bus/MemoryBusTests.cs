using System.Collections.Concurrent;
using Microsoft.Extensions.Logging.Abstractions;
using Platform.Core.Gangs;
using Platform.Hosting.Bus;
using Platform.Hosting.Errors;
using Platform.Testing;
using Xunit;

namespace Platform.Hosting.Tests.Bus;

public sealed class MemoryBusTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Carries_every_message()
    {
        await using MassTransitBus bus = MassTransitBus.InMemory(NullLoggerFactory.Instance);
        await BusContract.CarriesEveryMessageAsync(bus, bus, Token);
    }

    [Fact]
    public async Task A_handler_that_fails_is_tried_again_and_a_queue_can_be_received_anew()
    {
        await using MassTransitBus bus = MassTransitBus.InMemory(NullLoggerFactory.Instance);
        int calls = 0;
        await using (await bus.ReceiveAsync(
            "q", [MessageHandler.For<PrepareGang>((_, _) => ++calls < 2 ? throw new InvalidOperationException("once") : Task.CompletedTask)], Token))
        {
            await bus.SendAsync("q", new PrepareGang(BusContract.Assignment(1)), Token);
            await Waiting.UntilAsync(() => calls == 2, "second call");
        }

        var received = new ConcurrentQueue<object>();
        await using IAsyncDisposable again = await bus.ReceiveAsync("q", [BusContract.Keep<PrepareGang>(received)], Token);
        await bus.SendAsync("q", new PrepareGang(BusContract.Assignment(2)), Token);
        await Waiting.UntilAsync(() => !received.IsEmpty, "message after the queue was taken again");
    }

    [Fact]
    public async Task A_broker_that_is_not_there_is_a_clear_error()
    {
        var options = new BusOptions
        {
            Transport = "rabbitmq",
            ConnectSeconds = 1,
            RabbitMq = new RabbitMqOptions { Host = "127.0.0.1", Port = 1 },
        };
        await using var bus = new MassTransitBus(options, NullLoggerFactory.Instance);
        UnavailableException exception = await Assert.ThrowsAsync<UnavailableException>(() => bus.StartAsync(Token));
        Assert.Contains("RabbitMQ at 127.0.0.1:1 ", exception.Message, StringComparison.Ordinal);
    }
}
