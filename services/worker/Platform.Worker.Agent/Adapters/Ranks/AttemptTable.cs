using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;
using System.Text;
using Platform.Core.Gangs;
using Platform.Hosting.Errors;
using Platform.Hosting.Ranks;
using Platform.Worker.Agent.Core;

namespace Platform.Worker.Agent.Adapters.Ranks;

/// <summary>What runs on this node now, as the processes and the gRPC services see it.</summary>
internal sealed class AttemptTable
{
    private readonly ConcurrentDictionary<AttemptKey, RunningAttempt> _attempts = new();

    public ICollection<RunningAttempt> All => _attempts.Values;

    public RunningAttempt GetOrAdd(GangAssignment assignment, Func<AttemptKey, string> createSharedMemory) =>
        _attempts.GetOrAdd(AttemptKey.Of(assignment), key => new RunningAttempt(assignment, createSharedMemory(key)));

    public bool TryGet(AttemptKey key, [NotNullWhen(true)] out RunningAttempt? attempt) => _attempts.TryGetValue(key, out attempt);

    public bool Remove(AttemptKey key, [NotNullWhen(true)] out RunningAttempt? attempt) => _attempts.TryRemove(key, out attempt);

    /// <summary>The attempt a process says it belongs to.</summary>
    /// <exception cref="FailedPreconditionException">The attempt is over.</exception>
    /// <exception cref="PermissionDeniedException">The token is not the attempt's.</exception>
    public RunningAttempt Authenticate(string gang, int attempt, string token)
    {
        if (!_attempts.TryGetValue(new AttemptKey(gang, attempt), out RunningAttempt? running))
        {
            throw new FailedPreconditionException("STALE_ATTEMPT", $"Attempt {attempt} of {gang} does not run on this node (any more).");
        }

        return TokensEqual(running.Assignment.Token, token)
            ? running
            : throw new PermissionDeniedException("WRONG_TOKEN", $"The token is not that of attempt {attempt} of {gang}.");
    }

    /// <summary>Compares in constant time.</summary>
    public static bool TokensEqual(string expected, string found) =>
        CryptographicOperations.FixedTimeEquals(Encoding.UTF8.GetBytes(expected), Encoding.UTF8.GetBytes(found));
}

/// <summary>An attempt with processes.</summary>
/// <param name="Assignment">Its assignment at the start.</param>
/// <param name="SharedMemoryDirectory">Directory of its shared-memory files.</param>
internal sealed record RunningAttempt(GangAssignment Assignment, string SharedMemoryDirectory)
{
    private readonly TaskCompletionSource<StopRequest> _stop = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public AttemptKey Key => AttemptKey.Of(Assignment);

    public ConcurrentDictionary<int, RunningRank> Ranks { get; } = new();

    /// <summary>What the ranks whose processes live last reported, by rank.</summary>
    public IReadOnlyList<RankReading> Readings =>
        [.. Ranks.Values.Where(r => !r.HasExited).Select(r => r.Reading).OfType<RankReading>().OrderBy(r => r.Rank)];

    /// <summary>Completes when its ranks must stop.</summary>
    public Task<StopRequest> Stop => _stop.Task;

    public void RequestStop(StopRequest request) => _stop.TrySetResult(request);

    /// <exception cref="FailedPreconditionException">The attempt has no such rank here.</exception>
    public RunningRank RankOf(int rank) => Ranks.TryGetValue(rank, out RunningRank? running)
        ? running
        : throw new FailedPreconditionException("UNKNOWN_RANK", $"Rank {rank} of {Key} does not run on this node.");
}

/// <summary>A rank with a process.</summary>
internal sealed class RunningRank(int rank, string logPath, DateTimeOffset startedAt)
{
    private readonly Lock _gate = new();
    private RankReading? _reading;
    private int _watchers;

    public int Rank => rank;

    public string LogPath => logPath;

    public DateTimeOffset StartedAt => startedAt;

    /// <summary>Its process id and the id of its group; 0 until it is started.</summary>
    public int ProcessId { get; set; }

    /// <summary>Its process has ended; its id may soon be another's.</summary>
    public bool HasExited { get; set; }

    /// <summary>Where it is scraped; null when it serves no metrics.</summary>
    public string? MetricsEndpoint { get; set; }

    /// <summary>Whether it listens for commands.</summary>
    public bool Listens => Volatile.Read(ref _watchers) > 0;

    /// <summary>Its last report; null before the first.</summary>
    public RankReading? Reading
    {
        get
        {
            lock (_gate)
            {
                return _reading;
            }
        }
    }

    public void Observe(Func<RankReading?, RankReading> next)
    {
        lock (_gate)
        {
            _reading = next(_reading);
        }
    }

    public void AddWatcher(int delta) => Interlocked.Add(ref _watchers, delta);
}
