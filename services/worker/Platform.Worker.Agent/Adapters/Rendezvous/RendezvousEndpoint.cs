using Grpc.Core;
using Platform.Hosting.Errors;
using Platform.Internal.V1;

namespace Platform.Worker.Agent.Adapters.Rendezvous;

/// <summary>RendezvousService: brings the ranks of an attempt together.</summary>
internal sealed class RendezvousEndpoint(RendezvousTable table, AgentOptions options) : RendezvousService.RendezvousServiceBase
{
    // The answer that names the missing ranks must arrive before the caller's own deadline ends the call.
    private static readonly TimeSpan AnswerMargin = TimeSpan.FromMilliseconds(500);

    public override async Task<JoinResponse> Join(JoinRequest request, ServerCallContext context)
    {
        OpenRendezvous rendezvous = table.Authenticate(request);
        rendezvous.Join(request);
        TimeSpan wait = TimeSpan.FromSeconds(options.RendezvousSeconds);
        if (context.Deadline != DateTime.MaxValue)
        {
            TimeSpan left = context.Deadline.ToUniversalTime() - DateTime.UtcNow - AnswerMargin;
            wait = left < wait ? left : wait;
        }

        try
        {
            return await rendezvous.Complete.WaitAsync(wait > TimeSpan.Zero ? wait : TimeSpan.Zero, context.CancellationToken);
        }
        catch (TimeoutException)
        {
            IReadOnlyList<int> missing = rendezvous.Missing;
            throw new DeadlineExceededException(
                "RENDEZVOUS_INCOMPLETE",
                $"{(missing.Count == 1 ? "Rank" : "Ranks")} {string.Join(", ", missing)} of {request.WorldSize} did not join attempt {request.Attempt} of {request.Gang}.");
        }
    }
}
