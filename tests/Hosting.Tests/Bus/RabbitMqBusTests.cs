using System.Collections.Concurrent;
using Microsoft.Extensions.Logging.Abstractions;
using Platform.Core.Gangs;
using Platform.Hosting.Bus;
using Platform.Testing;
using Platform.Testing.Rabbit;
using Xunit;

namespace Platform.Hosting.Tests.Bus;

/// <summary>The same contract over a real broker.</summary>
public sealed class RabbitMqBusTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Carries_every_message_keeps_them_through_a_restart_of_the_broker_and_reconnects()
    {
        Assert.SkipWhen(RabbitMqServer.Unavailable is not null, RabbitMqServer.Unavailable ?? "");
        await using RabbitMqServer broker = await RabbitMqServer.StartAsync();
        var options = new BusOptions
        {
            Transport = "rabbitmq",
            SendSeconds = 60,
            RabbitMq = new RabbitMqOptions { Host = RabbitMqServer.Host, Port = broker.AmqpPort },
        };
        await using var sender = new MassTransitBus(options, NullLoggerFactory.Instance);
        await using (var receiver = new MassTransitBus(options, NullLoggerFactory.Instance))
        {
            await BusContract.CarriesEveryMessageAsync(sender, receiver, Token);
            await using IAsyncDisposable declared = await receiver.ReceiveAsync("durable", [], Token);
        }

        // Nobody receives; the queue is there, and what the broker has confirmed survives it.
        await sender.SendAsync("durable", new PrepareGang(BusContract.Assignment(7)), Token);
        await broker.StopAsync();
        await broker.RunAsync();
        var received = new ConcurrentQueue<object>();
        await using var later = new MassTransitBus(options, NullLoggerFactory.Instance);
        await using IAsyncDisposable endpoint = await later.ReceiveAsync("durable", [BusContract.Keep<PrepareGang>(received)], Token);
        await Waiting.UntilAsync(() => !received.IsEmpty, "the message sent before the broker stopped");
        // The sender finds the broker again by itself.
        await sender.SendAsync("durable", new PrepareGang(BusContract.Assignment(8)), Token);
        await Waiting.UntilAsync(() => received.Count == 2, "the message sent after the broker came back");
        Assert.Equal([7, 8], received.Cast<PrepareGang>().Select(m => m.Assignment.Attempt));
    }
}
