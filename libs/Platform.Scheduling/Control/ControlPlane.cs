using Platform.Core.Gangs;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Deployments;
using Platform.Scheduling.Gangs;
using Platform.Scheduling.Queues;

namespace Platform.Scheduling.Control;

/// <summary>
/// The scheduler without I/O: nodes and their leases, gangs, deployments, and the cycle over them. One owner calls it,
/// commits what <see cref="TakeChanges"/> returns, and only then answers and sends. After a crash or a failed commit the
/// owner drops it and makes a new one from what was last committed. The simulator runs this very class.
/// </summary>
public sealed partial class ControlPlane
{
    /// <summary>Cycles in a row, each of which may start more; then whoever waits for an answer goes first.</summary>
    private const int MostRounds = 16;

    private readonly ControlOptions options;
    private readonly long epoch;
    private readonly Func<string> newToken;
    private readonly Func<GangState, string?> traceDecision;
    private readonly SortedDictionary<string, GangState> gangs = new(StringComparer.Ordinal);
    private readonly SortedDictionary<string, NodeState> nodes = new(StringComparer.Ordinal);
    private readonly SortedDictionary<string, DeploymentState> deployments = new(StringComparer.Ordinal);
    private readonly SortedDictionary<string, (string Deployment, int Revision)> replicas = new(StringComparer.Ordinal);
    private readonly Dictionary<string, long> versions = [];
    private readonly Pending changes = new();
    private Dictionary<string, GangDeferral> deferrals = [];
    private long lastVersion;
    private bool cycleNeeded = true;

    /// <summary>Starts from what was last committed.</summary>
    /// <param name="record">What was last committed.</param>
    /// <param name="options">Times.</param>
    /// <param name="epoch">Epoch of this scheduler's leadership; grows with each one.</param>
    /// <param name="newToken">Makes the secret of an attempt.</param>
    /// <param name="traceDecision">Records the decision to place a gang; returns its W3C context.</param>
    /// <param name="now">The time. Nodes get a fresh lease from it, since the leader before may have renewed theirs.</param>
    public ControlPlane(
        ControlRecord record, ControlOptions options, long epoch, Func<string> newToken, Func<GangState, string?> traceDecision, DateTimeOffset now)
    {
        (this.options, this.epoch, this.newToken, this.traceDecision) = (options, epoch, newToken, traceDecision);
        lastVersion = epoch << 32;
        (history, historyStoredAt) = (record.History, now);
        spending = new SpendingLedger(record.Spent, now);
        foreach (var gang in record.Gangs)
        {
            gangs[gang.Gang] = gang;
            Remember(gang);
        }

        foreach (var queue in record.Queues)
        {
            queues[queue.Name] = queue;
        }

        foreach (var node in record.Nodes)
        {
            nodes[node.Node] = node.Lost ? node with { LeaseUntil = now } : node with { LeaseUntil = now + options.Lease };
        }

        capacity = record.Capacity;
        foreach (var deployment in record.Deployments)
        {
            deployments[deployment.Key] = deployment;
        }

        foreach (var (id, deployment, revision) in record.Replicas)
        {
            if (gangs.ContainsKey(GangOf(id)))
            {
                replicas[id] = (deployment, revision);
            }
            else
            {
                // Its gang ended just before the end of the leader before.
                changes.ForgottenReplicas.Add(id);
            }
        }
    }

    /// <summary>Gangs that are not in a final stage, and those that came to one since the last commit.</summary>
    public IReadOnlyCollection<GangState> Gangs => gangs.Values;

    /// <summary>Known nodes.</summary>
    public IReadOnlyCollection<NodeState> Nodes => nodes.Values;

    /// <summary>Deployments.</summary>
    public IReadOnlyCollection<DeploymentState> Deployments => deployments.Values;

    /// <summary>Replicas with their gangs.</summary>
    public IReadOnlyList<ReplicaState> Replicas =>
        [.. replicas.Where(entry => gangs.ContainsKey(GangOf(entry.Key))).Select(entry => new ReplicaState(entry.Key, entry.Value.Deployment, entry.Value.Revision, gangs[GangOf(entry.Key)]))];

    /// <summary>Why each waiting gang waited in the last cycle.</summary>
    public IReadOnlyDictionary<string, GangDeferral> Deferrals => deferrals;

    /// <summary>The gang, or null when it is unknown or has been forgotten after its end.</summary>
    public GangState? Find(string gang) => gangs.GetValueOrDefault(gang);

    /// <summary>Adds a gang.</summary>
    /// <exception cref="InvalidOperationException">The name is taken.</exception>
    public void Submit(GangState gang)
    {
        if (!gangs.TryAdd(gang.Gang, gang))
        {
            throw new InvalidOperationException($"Expected a new gang, found {gang.Gang} again.");
        }

        Remember(gang);
        changes.Gangs.Add(gang.Gang);
        cycleNeeded = true;
    }

    /// <summary>Hands an event to a gang. Unknown gangs are ignored.</summary>
    /// <returns>The effects, empty when nothing changed.</returns>
    public IReadOnlyList<GangEffect> Apply(string gang, GangEvent happened, DateTimeOffset now)
    {
        if (!gangs.TryGetValue(gang, out var before))
        {
            return [];
        }

        var (after, effects) = GangCoordinator.Apply(before, happened, now, options.Gangs);
        if (!ReferenceEquals(before, after))
        {
            gangs[gang] = after;
            changes.Gangs.Add(gang);
            cycleNeeded |= MayMatterToCycle(before.Stage, after.Stage);
        }

        foreach (var effect in effects)
        {
            Note(gang, effect);
        }

        return effects;
    }

    /// <summary>Everything time alone brings about, and then <see cref="Settle"/>.</summary>
    public void Tick(DateTimeOffset now)
    {
        foreach (var node in nodes.Values.ToList())
        {
            bool lost = node.LeaseUntil <= now, gone = lost && node.LeaseUntil + options.LeaseSkew <= now;
            if (lost != node.Lost || gone != node.Gone)
            {
                Put(node with { Lost = lost, Gone = gone });
            }
        }

        foreach (var gang in gangs.Values.Where(gang => gang.IsActive).ToList())
        {
            foreach (var member in gang.Attempt?.Members ?? [])
            {
                if (!member.Released && nodes.TryGetValue(member.Node, out var node))
                {
                    Follow(gang.Gang, node, now);
                }
            }

            Apply(gang.Gang, new GangEvent.Tick(), now);
        }

        Scale(now);
        cycleNeeded = true;
        Settle(now);
    }

    /// <summary>Brings replicas to what is wanted and places what can be placed.</summary>
    public void Settle(DateTimeOffset now)
    {
        foreach (string key in deployments.Keys.ToList())
        {
            Reconcile(deployments[key], now);
        }

        if (!cycleNeeded)
        {
            return;
        }

        cycleNeeded = false;
        int rounds = 1;
        while (RunCycle(now) && rounds < MostRounds)
        {
            rounds++;
        }

        cycleNeeded |= rounds == MostRounds;
        RunCapacity(now);
    }

    /// <summary>What the cluster has and what of it no live attempt holds.</summary>
    public ClusterSnapshot Snapshot()
    {
        var held = new Dictionary<(string Node, int Device), int>();
        var memory = new Dictionary<string, long>();
        foreach (var gang in gangs.Values.Where(gang => gang.IsActive))
        {
            foreach (var member in gang.Attempt!.Members.Where(member => !member.Released))
            {
                memory[member.Node] = memory.GetValueOrDefault(member.Node) + (member.Ranks.Count * (gang.Shape.MemoryBytes ?? 0));
                foreach (var (device, milli) in member.Ranks.SelectMany(rank => rank.Devices.Select(device => (device, rank.DeviceMilli))))
                {
                    held[(member.Node, device)] = held.GetValueOrDefault((member.Node, device)) + milli;
                }
            }
        }

        return new ClusterSnapshot([.. nodes.Values.Select(node => NodeRow(new NodeSnapshot(
            node.Node, !node.Lost && !node.Draining && !node.Cordoned, node.Lost ? "lost" : node.Draining ? "draining" : node.Cordoned ? "cordoned" : "",
            node.Inventory.Topology, node.Inventory.MemoryBytes, node.Inventory.MemoryBytes - memory.GetValueOrDefault(node.Node),
            [.. node.Inventory.Devices.Select(device => new DeviceSnapshot(
                device.Index, device.Kind, device.MemoryBytes, device.Healthy, 1000 - held.GetValueOrDefault((node.Node, device.Index))))])
        {
            Group = node.Inventory.Group,
            Spot = node.Inventory.Spot,
            Cluster = node.Inventory.Cluster,
        }))]);
    }

    /// <summary>What changed since the last call. Gangs that have ended and been handed out here are forgotten.</summary>
    public ControlChanges TakeChanges()
    {
        var taken = new ControlChanges(
            [.. changes.Gangs.Where(gangs.ContainsKey).Select(gang => gangs[gang])],
            [.. changes.Nodes.Where(nodes.ContainsKey).Select(node => nodes[node])],
            [.. changes.Deployments.Where(deployments.ContainsKey).Select(key => deployments[key])],
            [.. changes.DeletedDeployments],
            [.. changes.Replicas.Where(id => replicas.ContainsKey(id)).Select(id => new ReplicaState(id, replicas[id].Deployment, replicas[id].Revision, gangs[GangOf(id)]))],
            [.. changes.ForgottenReplicas],
            [.. changes.EndedAttempts],
            [.. changes.Commands.GroupBy(command => command.Gang, command => command.Node).SelectMany(told => gangs.TryGetValue(told.Key, out var gang)
                ? GangCoordinator.Assignments(gang, epoch, options.Gangs).Where(assignment => told.Contains(assignment.Node)) : [])])
        {
            Queues = [.. changes.Queues.Select(name => queues[name])],
            Capacity = changes.Capacity ? capacity : null,
            ForgottenNodes = [.. changes.ForgottenNodes.Where(node => !nodes.ContainsKey(node))],
            History = changes.History ? history : null,
        };
        changes.Clear();
        foreach (var ended in taken.Gangs.Where(gang => gang.IsTerminal
            && (gang.Kind == WorkloadKind.Training || !replicas.Keys.Any(id => GangOf(id) == gang.Gang))))
        {
            gangs.Remove(ended.Gang);
            forecast.Ended(ended);
        }

        return taken;
    }

    /// <summary>
    /// Whether a cycle might decide otherwise: a gang waits, waits no more, or holds nothing any more. That one has begun to run,
    /// and may be asked to make room some time, the next tick will see.
    /// </summary>
    private static bool MayMatterToCycle(GangStage before, GangStage after) =>
        before != after && after is not (GangStage.Preparing or GangStage.Starting or GangStage.Running or GangStage.Stopping);

    private static string GangOf(string replica) => $"replicas/{replica}";

    private void Note(string gang, GangEffect effect)
    {
        switch (effect)
        {
            case GangEffect.AssignmentChanged changed:
                versions[changed.Node] = ++lastVersion;
                changes.Commands.Add((gang, changed.Node));
                break;
            case GangEffect.DevicesReleased released:
                versions[released.Node] = ++lastVersion;
                cycleNeeded = true;
                break;
            case GangEffect.AttemptEnded ended:
                changes.EndedAttempts.Add((gang, ended.Attempt, ended.Outcome));
                spending.End(gangs[gang].Queue, ended.Attempt.Held, ended.Attempt.EndedAt ?? ended.Attempt.PlacedAt);
                break;
        }
    }

    private void Put(NodeState node)
    {
        nodes[node.Node] = node;
        changes.Nodes.Add(node.Node);
        cycleNeeded = true;
    }

    /// <summary>Names of what changed, each once and in order.</summary>
    private sealed class Pending
    {
        public SortedSet<string> Gangs { get; } = new(StringComparer.Ordinal);

        public SortedSet<string> Nodes { get; } = new(StringComparer.Ordinal);

        public SortedSet<string> Deployments { get; } = new(StringComparer.Ordinal);

        public SortedSet<string> DeletedDeployments { get; } = new(StringComparer.Ordinal);

        public SortedSet<string> Queues { get; } = new(StringComparer.Ordinal);

        public SortedSet<string> Replicas { get; } = new(StringComparer.Ordinal);

        public SortedSet<string> ForgottenReplicas { get; } = new(StringComparer.Ordinal);

        public List<(string Gang, AttemptState Attempt, StopOutcome Outcome)> EndedAttempts { get; } = [];

        public SortedSet<(string Gang, string Node)> Commands { get; } = [];

        public bool History { get; set; }

        public bool Capacity { get; set; }

        public SortedSet<string> ForgottenNodes { get; } = new(StringComparer.Ordinal);

        public void Clear()
        {
            Gangs.Clear();
            Nodes.Clear();
            Deployments.Clear();
            DeletedDeployments.Clear();
            Queues.Clear();
            Replicas.Clear();
            ForgottenReplicas.Clear();
            EndedAttempts.Clear();
            Commands.Clear();
            History = false;
            Capacity = false;
            ForgottenNodes.Clear();
        }
    }
}
