using System.Collections.Immutable;
using Platform.Core.Cluster;
using Platform.Core.Gangs;

namespace Platform.Worker.Agent.Core;

/// <summary>An attempt of a gang.</summary>
/// <param name="Gang">Gang.</param>
/// <param name="Attempt">Attempt, from 1.</param>
public readonly record struct AttemptKey(string Gang, int Attempt) : IComparable<AttemptKey>
{
    /// <summary>Key of an assignment.</summary>
    public static AttemptKey Of(GangAssignment assignment) => new(assignment.Gang, assignment.Attempt);

    /// <inheritdoc/>
    public int CompareTo(AttemptKey other)
    {
        int byGang = string.CompareOrdinal(Gang, other.Gang);
        return byGang != 0 ? byGang : Attempt.CompareTo(other.Attempt);
    }

    /// <summary>Order by gang, then attempt.</summary>
    public static bool operator <(AttemptKey left, AttemptKey right) => left.CompareTo(right) < 0;

    /// <summary>Order by gang, then attempt.</summary>
    public static bool operator >(AttemptKey left, AttemptKey right) => left.CompareTo(right) > 0;

    /// <summary>Order by gang, then attempt.</summary>
    public static bool operator <=(AttemptKey left, AttemptKey right) => left.CompareTo(right) <= 0;

    /// <summary>Order by gang, then attempt.</summary>
    public static bool operator >=(AttemptKey left, AttemptKey right) => left.CompareTo(right) >= 0;

    /// <inheritdoc/>
    public override string ToString() => $"{Gang}/{Attempt}";
}

/// <summary>Life of one rank's process.</summary>
public abstract record RankProcess
{
    private RankProcess()
    {
    }

    /// <summary>Whether a process may exist.</summary>
    public bool IsLive => this is not Exited;

    /// <summary>Its start has been ordered.</summary>
    public sealed record Starting : RankProcess;

    /// <summary>It runs.</summary>
    /// <param name="ProcessId">Its process id.</param>
    public sealed record Running(int ProcessId) : RankProcess;

    /// <summary>It has ended, or was never started.</summary>
    /// <param name="ExitCode">Exit code; 128 + n when signal n killed it.</param>
    public sealed record Exited(int ExitCode) : RankProcess;
}

/// <summary>Ranks are being stopped.</summary>
/// <param name="Reason">Why.</param>
/// <param name="KillAt">When those left are killed.</param>
public sealed record Stopping(string Reason, DateTimeOffset KillAt);

/// <summary>What the agent knows of one attempt.</summary>
public sealed record AttemptState
{
    /// <summary>Newest assignment of the attempt; its phase is the highest one wanted so far.</summary>
    public required GangAssignment Assignment { get; init; }

    /// <summary>When the agent first heard of it.</summary>
    public required DateTimeOffset KnownSince { get; init; }

    /// <summary>How far the attempt is.</summary>
    public required MemberPhase Phase { get; init; }

    /// <summary>Its devices are its own.</summary>
    public bool HoldsDevices { get; init; }

    /// <summary>The checks have passed.</summary>
    public bool PreflightPassed { get; init; }

    /// <summary>Address of the rendezvous opened here.</summary>
    public string? RendezvousAddress { get; init; }

    /// <summary>Processes by rank; empty before the start.</summary>
    public ImmutableSortedDictionary<int, RankProcess> Ranks { get; init; } = ImmutableSortedDictionary<int, RankProcess>.Empty;

    /// <summary>First failure.</summary>
    public GangFailure? Failure { get; init; }

    /// <summary>Set while its ranks are being stopped.</summary>
    public Stopping? Stopping { get; init; }

    /// <summary>Address of the replica's engine.</summary>
    public string? ReplicaEndpoint { get; init; }

    /// <summary>What its ranks were doing when they were told to stop; empty unless they stood still.</summary>
    public IReadOnlyList<RankStall> Stalls { get; init; } = [];

    /// <summary>Key of the attempt.</summary>
    public AttemptKey Key => AttemptKey.Of(Assignment);

    /// <summary>A process of the attempt may exist.</summary>
    public bool HasLiveRanks => Ranks.Values.Any(r => r.IsLive);

    /// <summary>The rendezvous has still to be opened.</summary>
    public bool AwaitsRendezvous => Assignment is { HostsRendezvous: true, WorldSize: > 1 } && RendezvousAddress is null;
}

/// <summary>Everything a node agent knows. Immutable; <see cref="AgentMachine.Apply"/> makes the next one.</summary>
public sealed record AgentState
{
    /// <summary>Node.</summary>
    public required string Node { get; init; }

    /// <summary>This run of the agent.</summary>
    public required string Incarnation { get; init; }

    /// <summary>Devices of the node, by index.</summary>
    public required ImmutableSortedDictionary<int, DeviceInfo> Devices { get; init; }

    /// <summary>Highest scheduler epoch seen; commands of lower ones are refused.</summary>
    public long Epoch { get; init; }

    /// <summary>Version of the assignments last pulled; 0 when something else has been applied since.</summary>
    public long AppliedVersion { get; init; }

    /// <summary>End of the lease; null before the first renewal.</summary>
    public DateTimeOffset? LeaseEnd { get; init; }

    /// <summary>Attempts the scheduler has not yet let go of.</summary>
    public ImmutableSortedDictionary<AttemptKey, AttemptState> Attempts { get; init; } =
        ImmutableSortedDictionary<AttemptKey, AttemptState>.Empty;

    /// <summary>Last attempt of forgotten gangs, with the time of forgetting, so that late messages do not revive them.</summary>
    public ImmutableSortedDictionary<string, (int Attempt, DateTimeOffset Since)> Forgotten { get; init; } =
        ImmutableSortedDictionary.Create<string, (int, DateTimeOffset)>(StringComparer.Ordinal);

    /// <summary>State of an agent that has just started, all former processes gone.</summary>
    /// <param name="inventory">What the node has.</param>
    /// <param name="incarnation">This run.</param>
    /// <param name="epoch">Epoch persisted by former runs, or 0.</param>
    public static AgentState Initial(NodeInventory inventory, string incarnation, long epoch) => new()
    {
        Node = inventory.Node,
        Incarnation = incarnation,
        Devices = inventory.Devices.ToImmutableSortedDictionary(d => d.Index, d => d),
        Epoch = epoch,
    };

    /// <summary>Whether the node may run anything at this moment.</summary>
    public bool HasLease(DateTimeOffset now) => LeaseEnd is { } end && now < end;
}
