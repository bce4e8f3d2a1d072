using Microsoft.EntityFrameworkCore;
using Platform.Core.Gangs;
using Platform.Scheduling.Control;
using Platform.Scheduling.Deployments;
using Platform.Scheduling.Gangs;
using Platform.Scheduling.Queues;

namespace Platform.Scheduler.Data;

/// <summary>
/// Reads the control plane's state and adds its changes to a transaction. Remembers what is stored, so that each change
/// is an insert, an update guarded by the version it was read with, or a delete. One per leadership.
/// </summary>
internal sealed class StateStore
{
    private readonly Dictionary<string, (long Version, int Attempt)> gangs = [];
    private readonly Dictionary<string, HashSet<AllocationKey>> allocations = [];
    private readonly HashSet<string> nodes = [];
    private readonly HashSet<string> deployments = [];
    private readonly HashSet<string> queues = [];

    /// <summary>What was last committed.</summary>
    public async Task<ControlRecord> LoadAsync(SchedulerDbContext db, DateTimeOffset now, CancellationToken cancellationToken)
    {
        var live = await db.Gangs.AsNoTracking().Where(gang => !gang.Terminal).ToListAsync(cancellationToken);
        foreach (var gang in live)
        {
            gangs[gang.Gang] = (gang.Version, gang.Attempt);
        }

        foreach (var held in await db.Allocations.AsNoTracking().ToListAsync(cancellationToken))
        {
            HeldBy(held.Gang).Add(new AllocationKey(held.Attempt, held.Node, held.Device, held.Rank, held.Milli));
        }

        var nodeRows = await db.Nodes.AsNoTracking().ToListAsync(cancellationToken);
        nodes.UnionWith(nodeRows.Select(row => row.Node));
        var deploymentRows = await db.Deployments.AsNoTracking().ToListAsync(cancellationToken);
        deployments.UnionWith(deploymentRows.Select(row => $"{row.Project}/{row.Id}"));
        var replicas = await db.Replicas.AsNoTracking().ToListAsync(cancellationToken);
        var queueRows = await db.Queues.AsNoTracking().ToListAsync(cancellationToken);
        queues.UnionWith(queueRows.Select(row => row.Name));
        return new ControlRecord(
            [.. live.Select(row => GangJson.Read<GangState>(row.State))],
            [.. nodeRows.Select(row => GangJson.Read<NodeState>(row.State))],
            [.. deploymentRows.Select(row => GangJson.Read<DeploymentState>(row.State))],
            [.. replicas.Select(row => (row.Id, row.Deployment, row.Revision))])
        {
            Queues = [.. queueRows.Select(row => GangJson.Read<QueueSpec>(row.State))],
            History = await UsageAccounts.HistoryAsync(db, cancellationToken),
            Spent = await UsageAccounts.SpentAsync(db, now, cancellationToken),
        };
    }

    /// <summary>Adds changes to the context; nothing is written before its owner saves.</summary>
    public void Write(SchedulerDbContext db, ControlChanges changes)
    {
        var byName = changes.Gangs.ToDictionary(gang => gang.Gang);
        foreach (var (gang, attempt, outcome) in changes.EndedAttempts)
        {
            Store(db, byName[gang], attempt, outcome);
        }

        foreach (var gang in changes.Gangs)
        {
            Store(db, gang, changes.EndedAttempts.Where(ended => ended.Gang == gang.Gang).Select(ended => ended.Attempt.Number).ToHashSet());
        }

        foreach (var node in changes.Nodes)
        {
            var row = new NodeRow { Node = node.Node, State = GangJson.Write(node), LeaseUnixMs = node.LeaseUntil.ToUnixTimeMilliseconds() };
            db.Entry(row).State = nodes.Add(node.Node) ? EntityState.Added : EntityState.Modified;
        }

        foreach (var deployment in changes.Deployments)
        {
            var row = new DeploymentRow { Project = deployment.Project, Id = deployment.Id, State = GangJson.Write(deployment) };
            db.Entry(row).State = deployments.Add(deployment.Key) ? EntityState.Added : EntityState.Modified;
        }

        foreach (string key in changes.DeletedDeployments.Where(deployments.Remove))
        {
            int slash = key.IndexOf('/', StringComparison.Ordinal);
            db.Entry(new DeploymentRow { Project = key[..slash], Id = key[(slash + 1)..], State = "" }).State = EntityState.Deleted;
        }

        foreach (var queue in changes.Queues)
        {
            db.Entry(new QueueRow { Name = queue.Name, State = GangJson.Write(queue) }).State = queues.Add(queue.Name) ? EntityState.Added : EntityState.Modified;
        }

        foreach (var replica in changes.Replicas)
        {
            db.Replicas.Add(new ReplicaRow { Id = replica.Id, Deployment = replica.Deployment, Revision = replica.Revision });
        }

        foreach (string id in changes.ForgottenReplicas)
        {
            db.Entry(new ReplicaRow { Id = id, Deployment = "" }).State = EntityState.Deleted;
        }
    }

    private static AttemptRow RowOf(GangState gang, AttemptState attempt, StopOutcome? outcome) => new()
    {
        Gang = gang.Gang,
        Attempt = attempt.Number,
        PlacedUnixMs = attempt.PlacedAt.ToUnixTimeMilliseconds(),
        EndedUnixMs = attempt.EndedAt?.ToUnixTimeMilliseconds(),
        Outcome = outcome?.ToString(),
        State = GangJson.Write(attempt),
        Resource = UsageAccounts.ResourceOf(gang),
        Queue = gang.Queue,
        User = gang.User,
        DeviceKind = gang.Shape.DeviceKind,
        Milli = attempt.Held.Milli,
        PricePerHour = attempt.PricePerHour,
    };

    private void Store(SchedulerDbContext db, GangState gang, AttemptState attempt, StopOutcome outcome)
    {
        var known = gangs.GetValueOrDefault(gang.Gang);
        db.Entry(RowOf(gang, attempt, outcome)).State = known.Attempt < attempt.Number ? EntityState.Added : EntityState.Modified;
        gangs[gang.Gang] = known with { Attempt = Math.Max(known.Attempt, attempt.Number) };
    }

    private void Store(SchedulerDbContext db, GangState gang, HashSet<int> stored)
    {
        var (version, attempt) = gangs.GetValueOrDefault(gang.Gang);
        int current = gang.Attempt?.Number ?? 0;
        var row = new GangRow
        {
            Gang = gang.Gang,
            Project = gang.Project,
            Kind = gang.Kind.ToString(),
            Stage = gang.Stage.ToString(),
            Terminal = gang.IsTerminal,
            Attempt = current,
            State = GangJson.Write(gang),
            Version = version + 1,
        };
        var entry = db.Entry(row);
        entry.State = version == 0 ? EntityState.Added : EntityState.Modified;
        entry.Property(r => r.Version).OriginalValue = version;
        if (gang.Attempt is { EndedAt: null } running && !stored.Contains(current))
        {
            db.Entry(RowOf(gang, running, null)).State = attempt < current ? EntityState.Added : EntityState.Modified;
        }

        gangs[gang.Gang] = (version + 1, current);
        StoreAllocations(db, gang);
        if (gang.IsTerminal)
        {
            gangs.Remove(gang.Gang);
            allocations.Remove(gang.Gang);
        }
    }

    private void StoreAllocations(SchedulerDbContext db, GangState gang)
    {
        var held = HeldBy(gang.Gang);
        HashSet<AllocationKey> wanted = gang.IsActive && gang.Attempt is { } attempt
            ? [.. attempt.Members.Where(member => !member.Released).SelectMany(member => member.Ranks.SelectMany(rank => rank.Devices.Select(
                device => new AllocationKey(attempt.Number, member.Node, device, rank.Rank, rank.DeviceMilli))))]
            : [];
        foreach (var key in held.Except(wanted).ToList())
        {
            db.Entry(RowOf(gang.Gang, key)).State = EntityState.Deleted;
            held.Remove(key);
        }

        foreach (var key in wanted.Except(held).ToList())
        {
            db.Entry(RowOf(gang.Gang, key)).State = EntityState.Added;
            held.Add(key);
        }
    }

    private static AllocationRow RowOf(string gang, AllocationKey key) => new()
    {
        Gang = gang,
        Attempt = key.Attempt,
        Node = key.Node,
        Device = key.Device,
        Rank = key.Rank,
        Milli = key.Milli,
    };

    private HashSet<AllocationKey> HeldBy(string gang) =>
        allocations.TryGetValue(gang, out var held) ? held : allocations[gang] = [];

    private readonly record struct AllocationKey(int Attempt, string Node, int Device, int Rank, int Milli);
}
