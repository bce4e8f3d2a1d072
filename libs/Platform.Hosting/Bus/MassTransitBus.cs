using MassTransit;
using Microsoft.Extensions.Logging;
using Platform.Hosting.Errors;

namespace Platform.Hosting.Bus;

/// <summary>
/// The bus over MassTransit: in-memory within one process, or RabbitMQ with quorum queues. It connects by itself at
/// the first use and reconnects when the broker comes back.
/// </summary>
public sealed partial class MassTransitBus : IMessageBus, IAsyncDisposable
{
    private readonly BusOptions _options;
    private readonly IBusControl _bus;
    private readonly ILogger _logger;
    private readonly string _addressScheme;
    private readonly Lazy<Task> _started;

    /// <summary>Creates the bus; nothing is connected yet.</summary>
    /// <param name="options">Transport and broker.</param>
    /// <param name="loggers">Where the bus logs.</param>
    public MassTransitBus(BusOptions options, ILoggerFactory loggers)
    {
        _options = options;
        _logger = loggers.CreateLogger<MassTransitBus>();
        LogContext.ConfigureCurrentLogContext(loggers);
        bool rabbit = options.Transport == "rabbitmq";
        // An exchange address declares no queue on the sender's side: the receiver alone knows that it is a quorum queue.
        _addressScheme = rabbit ? "exchange" : "queue";
        _bus = rabbit ? CreateRabbitMq(options.RabbitMq) : MassTransit.Bus.Factory.CreateUsingInMemory(_ => { });
        _started = new Lazy<Task>(StartBusAsync);
    }

    /// <summary>Creates an in-memory bus that several hosts of one process share.</summary>
    /// <param name="loggers">Where the bus logs.</param>
    public static MassTransitBus InMemory(ILoggerFactory loggers) => new(new BusOptions(), loggers);

    /// <summary>Connects to the broker, unless that has been done.</summary>
    /// <param name="cancellationToken">Stops waiting.</param>
    /// <exception cref="UnavailableException">The broker cannot be reached in <see cref="BusOptions.ConnectSeconds"/>.</exception>
    public Task StartAsync(CancellationToken cancellationToken) => _started.Value.WaitAsync(cancellationToken);

    /// <inheritdoc/>
    public async Task SendAsync<T>(string queue, T message, CancellationToken cancellationToken)
        where T : class
    {
        await StartAsync(cancellationToken);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(TimeSpan.FromSeconds(_options.SendSeconds));
        try
        {
            ISendEndpoint endpoint = await _bus.GetSendEndpoint(new Uri($"{_addressScheme}:{queue}"));
            await endpoint.Send(message, limit.Token);
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested
            && (exception is OperationCanceledException or MassTransitException || limit.IsCancellationRequested))
        {
            throw new UnavailableException(
                "BUS_UNAVAILABLE", $"The bus did not accept a {typeof(T).Name} for {queue} in {_options.SendSeconds} s.", exception);
        }
    }

    /// <inheritdoc/>
    public async Task<IAsyncDisposable> ReceiveAsync(
        string queue, IReadOnlyList<MessageHandler> handlers, CancellationToken cancellationToken)
    {
        await StartAsync(cancellationToken);
        HostReceiveEndpointHandle handle = _bus.ConnectReceiveEndpoint(queue, endpoint =>
        {
            if (endpoint is IRabbitMqReceiveEndpointConfigurator rabbit)
            {
                rabbit.SetQuorumQueue();
            }

            endpoint.PrefetchCount = 4;
            endpoint.ConcurrentMessageLimit = 1;
            endpoint.ConfigureConsumeTopology = false;
            endpoint.PublishFaults = false;
            // Messages are hints: what cannot be handled is dropped, and the reconciliation behind it makes up for it.
            endpoint.DiscardFaultedMessages();
            endpoint.DiscardSkippedMessages();
            endpoint.UseMessageRetry(retry => retry.Intervals(100, 500, 2000));
            foreach (MessageHandler handler in handlers)
            {
                handler.Configure(endpoint);
            }
        });
        try
        {
            await handle.Ready.WaitAsync(TimeSpan.FromSeconds(_options.ConnectSeconds), cancellationToken);
        }
        catch (TimeoutException exception)
        {
            throw new UnavailableException(
                "BUS_UNAVAILABLE",
                $"Queue {queue} could not be opened within {_options.ConnectSeconds} s. If the broker runs, the queue itself is "
                + "damaged: delete it there, it is created anew.",
                exception);
        }

        LogReceiving(_logger, queue);
        return new Receiver(handle);
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (!_started.IsValueCreated)
        {
            return;
        }

        try
        {
            using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(10));
            await _bus.StopAsync(limit.Token);
        }
        catch (Exception exception)
        {
            LogStopFailed(_logger, exception);
        }
    }

    private static IBusControl CreateRabbitMq(RabbitMqOptions options) =>
        MassTransit.Bus.Factory.CreateUsingRabbitMq(bus =>
        {
            bus.Host(options.Host, (ushort)options.Port, options.VirtualHost, host =>
            {
                host.Username(options.Username);
                host.Password(options.Password);
                host.Heartbeat(TimeSpan.FromSeconds(10));
            });
        });

    private async Task StartBusAsync()
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(_options.ConnectSeconds));
        try
        {
            await _bus.StartAsync(limit.Token);
        }
        catch (Exception exception) when (_options.Transport == "rabbitmq")
        {
            RabbitMqOptions broker = _options.RabbitMq;
            throw new UnavailableException(
                "BUS_UNAVAILABLE",
                $"RabbitMQ at {broker.Host}:{broker.Port} (virtual host {broker.VirtualHost}, user {broker.Username}) could not be "
                + $"reached within {_options.ConnectSeconds} s: {exception.Message} Start the broker or set Bus:RabbitMq.",
                exception);
        }
    }

    [LoggerMessage(EventId = 1020, Level = LogLevel.Debug, Message = "Receiving from queue {Queue}")]
    private static partial void LogReceiving(ILogger logger, string queue);

    [LoggerMessage(EventId = 1021, Level = LogLevel.Warning, Message = "The bus did not stop cleanly")]
    private static partial void LogStopFailed(ILogger logger, Exception exception);

    private sealed class Receiver(HostReceiveEndpointHandle handle) : IAsyncDisposable
    {
        public async ValueTask DisposeAsync()
        {
            using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(10));
            await handle.StopAsync(limit.Token);
        }
    }
}
