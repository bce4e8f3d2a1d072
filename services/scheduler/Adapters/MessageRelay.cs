using System.Text.Json;
using Grpc.Core;
using Platform.Core.Gangs;
using Platform.Hosting.Bus;
using Platform.Hosting.Errors;
using Platform.Internal.V1;

namespace Platform.Scheduler.Adapters;

/// <summary>Passes messages between the bus and agents that do not reach it. Like the bus it may lose them: leases make up for that.</summary>
internal sealed class MessageRelay(IMessageBus bus, Leadership leadership, IHostApplicationLifetime lifetime)
{
    private const string Reports = "scheduler-reports";
    private static readonly TimeSpan LeadershipCheck = TimeSpan.FromSeconds(1);

    /// <summary>Puts an agent's message on the bus.</summary>
    /// <exception cref="InvalidRequestException">It is not one that agents send.</exception>
    public Task SendAsync(string type, string body, CancellationToken cancellationToken)
    {
        RequireLeading();
        try
        {
            return type switch
            {
                nameof(GangMemberChanged) => bus.SendAsync(Reports, GangJson.Read<GangMemberChanged>(body), cancellationToken),
                nameof(GangProgressed) => bus.SendAsync(Reports, GangJson.Read<GangProgressed>(body), cancellationToken),
                _ => throw new InvalidRequestException("type", $"Expected GangMemberChanged or GangProgressed, found '{type}'."),
            };
        }
        catch (JsonException exception)
        {
            throw new InvalidRequestException("body", $"The message is not the JSON expected: {exception.Message}");
        }
    }

    /// <summary>Passes on what the bus has for a node, until the call ends or this process does not lead any more.</summary>
    public async Task ReceiveAsync(string node, IServerStreamWriter<ReceiveMessagesResponse> stream, CancellationToken cancellationToken)
    {
        RequireLeading();
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, lifetime.ApplicationStopping);
        await using var receiving = await bus.ReceiveAsync(
            $"node-{node}",
            [
                MessageHandler.For<PrepareGang>((message, _) => PassAsync(stream, message)),
                MessageHandler.For<StartGang>((message, _) => PassAsync(stream, message)),
                MessageHandler.For<StopGang>((message, _) => PassAsync(stream, message)),
            ],
            ended.Token);
        await stream.WriteAsync(new ReceiveMessagesResponse(), cancellationToken);
        while (!ended.IsCancellationRequested && leadership.Epoch is not null)
        {
            await Task.Delay(LeadershipCheck, ended.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    // The bus hands over one message at a time.
    private static Task PassAsync<T>(IServerStreamWriter<ReceiveMessagesResponse> stream, T message)
        where T : class =>
        stream.WriteAsync(new ReceiveMessagesResponse { Type = typeof(T).Name, Body = GangJson.Write(message) }, CancellationToken.None);

    private void RequireLeading()
    {
        if (leadership.Epoch is null)
        {
            throw new UnavailableException("NOT_LEADING", "This scheduler is standing by; another one leads.") { RetryAfter = TimeSpan.FromSeconds(1) };
        }
    }
}
