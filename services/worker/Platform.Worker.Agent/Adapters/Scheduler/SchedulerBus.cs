using Grpc.Core;
using Microsoft.Extensions.Logging;
using Platform.Core.Gangs;
using Platform.Hosting.Bus;
using Platform.Hosting.Errors;
using Platform.Internal.V1;

namespace Platform.Worker.Agent.Adapters.Scheduler;

/// <summary>The scheduler's bus for an agent that reaches no broker: messages go through the scheduler.</summary>
internal sealed partial class SchedulerBus(SchedulerLink scheduler, ILogger<SchedulerBus> logger) : IMessageBus
{
    private static readonly TimeSpan SendLimit = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan RetryDelay = TimeSpan.FromMilliseconds(500);

    /// <inheritdoc/>
    public async Task SendAsync<T>(string queue, T message, CancellationToken cancellationToken)
        where T : class
    {
        try
        {
            var request = new SendMessageRequest { Type = typeof(T).Name, Body = GangJson.Write(message) };
            await scheduler.OnceAsync((client, call) => client.SendMessageAsync(request, call).ResponseAsync, SendLimit, cancellationToken);
        }
        catch (RpcException exception) when (!cancellationToken.IsCancellationRequested)
        {
            throw new UnavailableException("BUS_UNAVAILABLE", $"The scheduler did not take a message: {exception.Status.Detail}", exception);
        }
    }

    /// <inheritdoc/>
    public Task<IAsyncDisposable> ReceiveAsync(string queue, IReadOnlyList<MessageHandler> handlers, CancellationToken cancellationToken)
    {
        // The queue of a node is node-NAME.
        string node = queue[(queue.IndexOf('-', StringComparison.Ordinal) + 1)..];
        var stop = new CancellationTokenSource();
        return Task.FromResult<IAsyncDisposable>(new Receiver(stop, ReceiveForeverAsync(node, handlers, stop.Token)));
    }

    private async Task ReceiveForeverAsync(string node, IReadOnlyList<MessageHandler> handlers, CancellationToken cancellationToken)
    {
        while (!cancellationToken.IsCancellationRequested)
        {
            try
            {
                await scheduler.WatchAsync(
                    async (client, call) =>
                    {
                        using var receiving = client.ReceiveMessages(new ReceiveMessagesRequest { Node = node }, call);
                        await foreach (var message in receiving.ResponseStream.ReadAllAsync(cancellationToken))
                        {
                            await HandleAsync(message, handlers, cancellationToken);
                        }
                    },
                    cancellationToken);
            }
            catch (Exception exception) when (exception is RpcException or OperationCanceledException)
            {
                // The scheduler is gone or another one leads; what is missed comes with the lease.
            }

            await Task.Delay(RetryDelay, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private async Task HandleAsync(ReceiveMessagesResponse message, IReadOnlyList<MessageHandler> handlers, CancellationToken cancellationToken)
    {
        if (handlers.FirstOrDefault(known => known.MessageType.Name == message.Type) is not { } handler)
        {
            return;
        }

        try
        {
            await handler.HandleJsonAsync(message.Body, GangJson.Options, cancellationToken);
        }
        catch (Exception exception) when (exception is not OperationCanceledException)
        {
            LogNotHandled(logger, exception, message.Type);
        }
    }

    [LoggerMessage(EventId = 2037, Level = LogLevel.Warning, Message = "A message {Type} could not be handled; the lease says the same again")]
    private static partial void LogNotHandled(ILogger logger, Exception exception, string type);

    private sealed class Receiver(CancellationTokenSource stop, Task receiving) : IAsyncDisposable
    {
        public async ValueTask DisposeAsync()
        {
            await stop.CancelAsync();
            await receiving;
            stop.Dispose();
        }
    }
}
