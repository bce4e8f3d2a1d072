using System.Globalization;
using Platform.Core.Cluster;
using Platform.Core.Gangs;
using Platform.Core.Parallelism;
using Platform.Scheduling.Control;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Gangs;
using Platform.Scheduling.Queues;
using Platform.Scheduling.Simulation;

namespace Platform.Simulation.Tests;

/// <summary>What a storm came to.</summary>
internal sealed record StormResult(ulong Trace, int Events, int Placed, int Made, int Failures, int Succeeded, int QuotaChanges, int Drains);

/// <summary>
/// The real control plane under one random event after the other: arrivals, progress, failures, nodes that are lost, drained
/// and return, quotas and priorities that change, and what the cycle makes of it. After every event everything that must
/// always hold is checked. Agents are as simple as can be: they report what the event says and release what is stopped.
/// </summary>
internal sealed partial class ControlStorm
{
    private const string Kind = "cuda";
    private const int MostWaiting = 14;
    private const int MostAlive = 40;
    private static readonly string[] Leaves = ["a", "b", "c"];
    private static readonly DateTimeOffset Begin = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

    private static readonly ControlOptions Options = new()
    {
        Lease = TimeSpan.FromSeconds(10),
        LeaseSkew = TimeSpan.FromSeconds(5),
        Cycle = new CycleOptions { MinRuntime = TimeSpan.FromSeconds(5), ElasticMinRuntime = TimeSpan.FromSeconds(20) },
        Gangs = new GangTimeouts { Prepare = TimeSpan.FromSeconds(60), Start = TimeSpan.FromSeconds(60), StopGrace = TimeSpan.FromSeconds(20), CheckpointGrace = TimeSpan.FromSeconds(20) },
    };

    private readonly int seed;
    private readonly SeededRandom random;
    private readonly ControlPlane plane;
    private readonly SchedulingCore core = new();
    private readonly Dictionary<string, (int Life, bool Alive)> machines = [];
    private readonly Dictionary<string, int> attempts = [];
    private readonly HashSet<(string Asks, string Leaves)> asked = [];
    private readonly Dictionary<string, QueueSpec> queues = [];
    private DateTimeOffset now = Begin;
    private ulong trace = 14695981039346656037;
    private int events;
    private int gangs;
    private int placed;
    private int made;
    private int failures;
    private int succeeded;
    private int quotaChanges;
    private int drains;

    private ControlStorm(int seed)
    {
        this.seed = seed;
        random = new SeededRandom((ulong)seed);
        plane = new ControlPlane(new ControlRecord([], [], [], []), Options, 1, () => "token", _ => null, now);
        SetQueue(new QueueSpec { Name = "all" });
        foreach (string queue in Leaves)
        {
            ChangeQuota(queue);
        }

        int nodes = 4 + random.Below(5);
        for (int node = 0; node < nodes; node++)
        {
            machines[$"n{node}"] = (1, true);
        }

        RenewAll(withInventory: true);
    }

    /// <summary>Runs a storm of so many events.</summary>
    /// <exception cref="SimulationException">Something does not hold; the message names the seed and the event.</exception>
    public static StormResult Run(int seed, int events)
    {
        var storm = new ControlStorm(seed);
        for (int at = 0; at < events; at++)
        {
            storm.Step();
        }

        return new StormResult(storm.trace, storm.events, storm.placed, storm.made, storm.failures, storm.succeeded, storm.quotaChanges, storm.drains);
    }

    private void Step()
    {
        events++;
        now += TimeSpan.FromMilliseconds(100 + random.Below(900));
        string what = Happen();
        Renew();
        plane.Settle(now);
        var changes = plane.TakeChanges();
        Check(what, changes);
    }

    private string Happen()
    {
        switch (random.Below(20))
        {
            case 0 or 1 or 2:
                return Submit();
            case 3:
                return Fail();
            case 4:
                return Lose();
            case 5:
                return Drain();
            case 6:
                return ChangeQuota(Leaves[random.Below(Leaves.Length)]);
            case 7:
                return Change();
            case 8 or 9 or 10:
                plane.Tick(now);
                return "tick";
            default:
                return Progress();
        }
    }

    private string Submit()
    {
        if (plane.Gangs.Count >= MostAlive || plane.Gangs.Count(gang => gang.Stage == GangStage.Queued) >= MostWaiting)
        {
            return Progress();
        }

        string name = $"jobs/{++gangs}";
        int data = 1 + random.Below(4);
        plane.Submit(new GangState
        {
            Gang = name,
            Project = "default",
            Kind = WorkloadKind.Training,
            Workload = "{}",
            Shape = new GangShape
            {
                Mesh = new DeviceMesh(1 + random.Below(2), 1 + random.Below(2), data),
                DeviceKind = Kind,
                DeviceMilli = random.Below(4) == 0 ? 500 : 1000,
                PipelineTopology = random.Below(3) == 0 ? "block" : null,
                NarrowerData = data > 1 && random.Below(3) == 0 ? [1] : [],
            },
            Queue = Leaves[random.Below(Leaves.Length)],
            Priority = random.Below(3) * 100,
            MaxRestarts = 20,
            ExpectedRuntime = random.Below(2) == 0 ? TimeSpan.FromSeconds(10 + random.Below(200)) : null,
            SubmittedAt = now,
            StageSince = now,
        });
        return $"submit {name}";
    }

    /// <summary>A member comes one phase further, or lets go of what it was told to stop.</summary>
    private string Progress()
    {
        if (Member() is not var (gang, member))
        {
            return "nothing";
        }

        var phase = gang.Stage switch
        {
            GangStage.Stopping => MemberPhase.Released,
            GangStage.Preparing => MemberPhase.Prepared,
            GangStage.Starting => MemberPhase.Running,
            _ => random.Below(3) == 0 ? MemberPhase.Succeeded : MemberPhase.Running,
        };
        if (phase == MemberPhase.Running && gang.Stage == GangStage.Running && random.Below(3) == 0)
        {
            int step = (gang.LatestCheckpoint?.Step ?? 0) + 1, attempt = gang.Attempt?.Number ?? 0;
            plane.Apply(gang.Gang, new GangEvent.CheckpointWritten(attempt, step, $"{gang.Gang}/{attempt}/{step}", $"{step}"), now);
            return $"save {gang.Gang} {step}";
        }

        plane.Report(Report(gang, member.Node, phase, null), now);
        return $"{gang.Gang} {member.Node} {phase}";
    }

    private string Fail()
    {
        if (Member() is not var (gang, member) || gang.Stage == GangStage.Stopping)
        {
            return "nothing";
        }

        failures++;
        plane.Report(Report(gang, member.Node, MemberPhase.Failed, new GangFailure { Code = FailureCode.RankExited, Message = "Chance.", Node = member.Node }), now);
        return $"{gang.Gang} {member.Node} fails";
    }

    /// <summary>A machine is silent from now on, or comes back with a new run of its agent.</summary>
    private string Lose()
    {
        string node = $"n{random.Below(machines.Count)}";
        var (life, alive) = machines[node];
        if (alive && machines.Values.Count(machine => machine.Alive) <= 2)
        {
            return "nothing";
        }

        machines[node] = alive ? (life, false) : (life + 1, true);
        return $"{node} {(alive ? "lost" : "back")}";
    }

    private string Drain()
    {
        drains++;
        var node = plane.Nodes.ElementAt(random.Below(plane.Nodes.Count));
        if (random.Below(3) == 0)
        {
            plane.SetCordoned(node.Node, !node.Cordoned);
            return $"cordon {node.Node}";
        }

        plane.SetDraining(node.Node, !node.Draining && plane.Nodes.Count(each => each.Draining) < 2, now);
        return $"drain {node.Node}";
    }

    private string ChangeQuota(string queue)
    {
        quotaChanges++;
        SetQueue(new QueueSpec
        {
            Name = queue,
            Parent = "all",
            Nominal = new Dictionary<string, int> { [Kind] = random.Below(12) },
            BorrowingLimit = random.Below(2) == 0 ? new Dictionary<string, int> { [Kind] = random.Below(10) } : new Dictionary<string, int>(),
            LendingLimit = random.Below(2) == 0 ? new Dictionary<string, int> { [Kind] = random.Below(8) } : new Dictionary<string, int>(),
            Weight = 1 + random.Below(3),
        });
        asked.Clear();
        return $"quota of {queue}";
    }

    private string Change()
    {
        if (plane.Gangs.Count == 0)
        {
            return "nothing";
        }

        var gang = plane.Gangs.ElementAt(random.Below(plane.Gangs.Count));
        switch (random.Below(4))
        {
            case 0:
                plane.SetPriority(gang.Gang, random.Below(3) * 100);
                asked.RemoveWhere(pair => pair.Asks == gang.Gang || pair.Leaves == gang.Gang);
                return $"priority of {gang.Gang}";
            case 1:
                plane.Apply(gang.Gang, new GangEvent.CancelRequested(), now);
                return $"cancel {gang.Gang}";
            default:
                plane.Apply(gang.Gang, gang.Stage == GangStage.Paused ? new GangEvent.ResumeRequested() : new GangEvent.PauseRequested(), now);
                return $"pause or resume {gang.Gang}";
        }
    }

    private (GangState Gang, MemberState Member)? Member()
    {
        List<(GangState Gang, MemberState Member)> members =
        [
            .. plane.Gangs.Where(gang => gang.IsActive)
                .SelectMany(gang => (gang.Attempt?.Members ?? []).Where(member => !member.Released && machines[member.Node].Alive).Select(member => (gang, member))),
        ];
        return members.Count == 0 ? null : members[random.Below(members.Count)];
    }

    private GangMemberReport Report(GangState gang, string node, MemberPhase phase, GangFailure? failure) => new()
    {
        Node = node,
        Incarnation = Incarnation(node),
        Epoch = 1,
        Gang = gang.Gang,
        Attempt = gang.Attempt?.Number ?? 0,
        Phase = phase,
        RendezvousAddress = $"{node}:1",
        Failure = failure,
    };

    private string Incarnation(string node) => $"{node}-{machines[node].Life}";

    /// <summary>Agents are prompt, so that only nodes that are lost run out of their lease.</summary>
    private void Renew()
    {
        if (events % 4 == 0)
        {
            RenewAll(withInventory: false);
        }
    }

    private void RenewAll(bool withInventory)
    {
        foreach (var (node, (_, alive)) in machines)
        {
            if (!alive)
            {
                continue;
            }

            int index = int.Parse(node.AsSpan(1), CultureInfo.InvariantCulture);
            var inventory = new NodeInventory(
                node, [.. Enumerable.Range(0, 2 + (index % 3)).Select(device => new DeviceInfo(device, Kind, 1L << 30))], 64L << 30,
                new Dictionary<string, string> { ["block"] = $"b{index % 2}" }, "storm");
            string own = Incarnation(node);
            bool anew = withInventory || plane.Nodes.FirstOrDefault(known => known.Node == node)?.Incarnation != own;
            GangMemberReport[] reports = anew ? [] :
            [
                .. plane.Gangs.Where(gang => gang.IsActive).SelectMany(gang => (gang.Attempt?.Members ?? [])
                    .Where(member => member.Node == node && !member.Released && member.Phase is not null).Select(member => Report(gang, node, member.Phase ?? MemberPhase.Preparing, null) with { Incarnation = own })),
            ];
            plane.Renew(node, own, "", anew ? inventory : null, reports, now);
        }
    }

    private void SetQueue(QueueSpec queue)
    {
        queues[queue.Name] = queue;
        if (plane.PutQueue(queue) is { Count: > 0 } wrong)
        {
            throw new SimulationException($"seed {seed}: {string.Join(" ", wrong)}");
        }
    }
}
