using System.Collections.Concurrent;
using Platform.Core.Gangs;
using Platform.Hosting.Errors;
using Platform.Internal.V1;
using Platform.Worker.Agent.Adapters.Ranks;
using Platform.Worker.Agent.Core;

namespace Platform.Worker.Agent.Adapters.Rendezvous;

/// <summary>The rendezvous that are open on this node.</summary>
internal sealed class RendezvousTable
{
    private readonly ConcurrentDictionary<AttemptKey, OpenRendezvous> _open = new();

    public void Open(GangAssignment assignment) =>
        _open.TryAdd(AttemptKey.Of(assignment), new OpenRendezvous(assignment.Token, assignment.WorldSize));

    public void Close(AttemptKey key)
    {
        if (_open.TryRemove(key, out OpenRendezvous? closed))
        {
            closed.Close(key);
        }
    }

    /// <exception cref="FailedPreconditionException">There is no rendezvous for the attempt (any more).</exception>
    /// <exception cref="PermissionDeniedException">The token is not the attempt's.</exception>
    public OpenRendezvous Authenticate(JoinRequest request)
    {
        var key = new AttemptKey(request.Gang, request.Attempt);
        if (!_open.TryGetValue(key, out OpenRendezvous? open))
        {
            throw new FailedPreconditionException("NO_RENDEZVOUS", $"No rendezvous is open for attempt {request.Attempt} of {request.Gang}.");
        }

        return AttemptTable.TokensEqual(open.Token, request.Token)
            ? open
            : throw new PermissionDeniedException("WRONG_TOKEN", $"The token is not that of attempt {request.Attempt} of {request.Gang}.");
    }
}

/// <summary>One rendezvous: complete once every rank has said where it listens.</summary>
internal sealed class OpenRendezvous(string token, int worldSize)
{
    private readonly Lock _gate = new();
    private readonly SortedDictionary<int, RankAddress> _joined = [];
    private readonly TaskCompletionSource<JoinResponse> _complete = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public string Token => token;

    /// <summary>All ranks, once they have joined.</summary>
    public Task<JoinResponse> Complete => _complete.Task;

    /// <summary>Ranks that have not joined.</summary>
    public IReadOnlyList<int> Missing
    {
        get
        {
            lock (_gate)
            {
                return [.. Enumerable.Range(0, worldSize).Where(r => !_joined.ContainsKey(r))];
            }
        }
    }

    /// <summary>Adds a rank; one that asks again before all are there replaces its address.</summary>
    /// <exception cref="InvalidRequestException">The rank or the world size does not fit.</exception>
    public void Join(JoinRequest request)
    {
        if (request.WorldSize != worldSize || request.Rank < 0 || request.Rank >= worldSize)
        {
            throw new InvalidRequestException("rank", $"Expected a rank below {worldSize}, found rank {request.Rank} of {request.WorldSize}.");
        }

        lock (_gate)
        {
            if (_complete.Task.IsCompleted)
            {
                return;
            }

            _joined[request.Rank] = new RankAddress { Rank = request.Rank, Host = request.Host, Port = request.Port, Node = request.Node };
            if (_joined.Count == worldSize)
            {
                _complete.SetResult(new JoinResponse { Ranks = { _joined.Values } });
            }
        }
    }

    public void Close(AttemptKey key) =>
        _complete.TrySetException(new FailedPreconditionException("STALE_ATTEMPT", $"Attempt {key.Attempt} of {key.Gang} is over."));
}
