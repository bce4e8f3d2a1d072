using MassTransit;

namespace Platform.Hosting.Bus;

/// <summary>
/// Queues by name. A message is a hint: it may be lost, repeated, late or out of order, and whoever receives it must
/// cope. Nothing long runs inside a handler: the broker takes unacknowledged messages back.
/// </summary>
public interface IMessageBus
{
    /// <summary>Hands a message to the broker, which has accepted it when the task completes.</summary>
    /// <typeparam name="T">Type of the message; needs a namespace.</typeparam>
    /// <param name="queue">Queue.</param>
    /// <param name="message">Message.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="Errors.UnavailableException">The broker did not take it in time.</exception>
    Task SendAsync<T>(string queue, T message, CancellationToken cancellationToken)
        where T : class;

    /// <summary>
    /// Receives from a queue, one message at a time, until the result is disposed. A handler that throws is tried
    /// again a few times; then the message is dropped and the exception logged.
    /// </summary>
    /// <param name="queue">Queue; created if it does not exist.</param>
    /// <param name="handlers">One for each type of message.</param>
    /// <param name="cancellationToken">Gives up waiting for the broker.</param>
    /// <exception cref="Errors.UnavailableException">The broker did not open the queue in time.</exception>
    Task<IAsyncDisposable> ReceiveAsync(string queue, IReadOnlyList<MessageHandler> handlers, CancellationToken cancellationToken);
}

/// <summary>What to do with one type of message.</summary>
public abstract class MessageHandler
{
    private protected MessageHandler()
    {
    }

    /// <summary>Type of the message.</summary>
    public abstract Type MessageType { get; }

    /// <summary>Creates a handler.</summary>
    /// <typeparam name="T">Type of the message.</typeparam>
    /// <param name="handle">Called for each message; must tolerate repeats.</param>
    public static MessageHandler For<T>(Func<T, CancellationToken, Task> handle)
        where T : class => new Typed<T>(handle);

    /// <summary>Handles a message that came as JSON.</summary>
    /// <param name="json">The message.</param>
    /// <param name="options">How it is written.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="System.Text.Json.JsonException">It is not such a message.</exception>
    public abstract Task HandleJsonAsync(string json, System.Text.Json.JsonSerializerOptions options, CancellationToken cancellationToken);

    internal abstract void Configure(IReceiveEndpointConfigurator endpoint);

    private sealed class Typed<T>(Func<T, CancellationToken, Task> handle) : MessageHandler
        where T : class
    {
        public override Type MessageType => typeof(T);

        public override Task HandleJsonAsync(string json, System.Text.Json.JsonSerializerOptions options, CancellationToken cancellationToken) => handle(
            System.Text.Json.JsonSerializer.Deserialize<T>(json, options) ?? throw new System.Text.Json.JsonException($"Expected a {typeof(T).Name}, found null."),
            cancellationToken);

        internal override void Configure(IReceiveEndpointConfigurator endpoint) =>
            endpoint.Handler<T>(context => handle(context.Message, context.CancellationToken));
    }
}
