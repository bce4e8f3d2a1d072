using Microsoft.Extensions.Logging.Abstractions;
using Platform.Hosting.Bus;
using Platform.Testing.Rabbit;
using Xunit;

namespace Platform.Hosting.Tests.Bus;

/// <summary>The same contract over a real broker.</summary>
public sealed class RabbitMqBusTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Carries_every_message()
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
        await using var receiver = new MassTransitBus(options, NullLoggerFactory.Instance);
        await BusContract.CarriesEveryMessageAsync(sender, receiver, Token);
    }
}
