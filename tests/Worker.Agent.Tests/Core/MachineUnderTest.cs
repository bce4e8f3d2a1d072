using Platform.Core.Cluster;
using Platform.Core.Gangs;
using Platform.Worker.Agent.Core;

namespace Platform.Worker.Agent.Tests.Core;

/// <summary>A machine with its clock, and shorthands for what happens to it.</summary>
internal sealed class MachineUnderTest
{
    public const string Node = "n0";
    public const string Gang = "jobs/j";

    public MachineUnderTest(int devices = 4, long epoch = 0)
    {
        var inventory = new NodeInventory(
            Node, [.. Enumerable.Range(0, devices).Select(i => new DeviceInfo(i, "cpu", 1 << 20))], 4 << 20,
            new Dictionary<string, string>(), "0");
        State = AgentState.Initial(inventory, "i1", epoch);
    }

    public AgentState State { get; private set; }

    public DateTimeOffset Now { get; private set; } = DateTimeOffset.UnixEpoch;

    public List<AgentEffect> All { get; } = [];

    public static MachineUnderTest WithLease(int devices = 4)
    {
        var machine = new MachineUnderTest(devices);
        machine.Renew(version: 0);
        return machine;
    }

    public static GangAssignment Assignment(
        GangPhase phase, int attempt = 1, long epoch = 1, string gang = Gang, int[]? devices = null, int milli = 1000,
        bool hostsRendezvous = false, double grace = 5, WorkloadKind kind = WorkloadKind.Training) => new()
        {
            Node = Node,
            Gang = gang,
            Attempt = attempt,
            Epoch = epoch,
            Phase = phase,
            Ranks = [.. (devices ?? [0, 1]).Select((d, i) => new RankPlacement(i, [d], milli))],
            WorldSize = (devices ?? [0, 1]).Length,
            HostsRendezvous = hostsRendezvous,
            RendezvousAddress = phase == GangPhase.Start ? "h:1" : null,
            Token = "t",
            Kind = kind,
            StopGraceSeconds = grace,
        };

    public static AttemptKey Key(int attempt = 1, string gang = Gang) => new(gang, attempt);

    public IReadOnlyList<AgentEffect> Apply(AgentEvent happened)
    {
        (State, IReadOnlyList<AgentEffect> effects) = AgentMachine.Apply(State, happened, Now);
        All.AddRange(effects);
        return effects;
    }

    public IReadOnlyList<AgentEffect> Receive(GangAssignment assignment) => Apply(new AgentEvent.AssignmentReceived(assignment));

    public IReadOnlyList<AgentEffect> Renew(long version, double seconds = 15, long epoch = 1) =>
        Apply(new AgentEvent.LeaseRenewed(Now, epoch, TimeSpan.FromSeconds(seconds), version));

    public IReadOnlyList<AgentEffect> Pull(long version, params GangAssignment[] assignments) =>
        Apply(new AgentEvent.AssignmentsPulled(Now, 1, version, assignments));

    public IReadOnlyList<AgentEffect> Wait(double seconds)
    {
        Now += TimeSpan.FromSeconds(seconds);
        return Apply(new AgentEvent.Tick());
    }

    public IReadOnlyList<AgentEffect> Exit(int rank, int code, int attempt = 1, string gang = Gang) =>
        Apply(new AgentEvent.RankExited(Key(attempt, gang), rank, code, [$"last words of {rank}"]));

    /// <summary>Prepares and starts an attempt; its ranks run with process ids 100 + rank.</summary>
    public void Run(GangAssignment prepare)
    {
        Receive(prepare);
        if (prepare.HostsRendezvous)
        {
            Apply(new AgentEvent.RendezvousOpened(AttemptKey.Of(prepare), "h:1"));
        }

        Apply(new AgentEvent.PreflightFinished(AttemptKey.Of(prepare), null));
        Receive(prepare with { Phase = GangPhase.Start, RendezvousAddress = "h:1" });
        foreach (RankPlacement rank in prepare.Ranks)
        {
            Apply(new AgentEvent.RankStarted(AttemptKey.Of(prepare), rank.Rank, 100 + rank.Rank));
        }
    }

    public MemberPhase? PhaseOf(int attempt = 1, string gang = Gang) => State.Attempts.GetValueOrDefault(Key(attempt, gang))?.Phase;

    public GangFailure? FailureOf(int attempt = 1, string gang = Gang) => State.Attempts.GetValueOrDefault(Key(attempt, gang))?.Failure;
}
