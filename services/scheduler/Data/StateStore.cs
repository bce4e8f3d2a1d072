using Microsoft.EntityFrameworkCore;
using Platform.Core.Gangs;
using Platform.Scheduling.Capacity;
using Platform.Scheduling.Control;
using Platform.Scheduling.Deployments;
using Platform.Scheduling.Gangs;
using Platform.Scheduling.Queues;

namespace Platform.Scheduler.Data;

/// <summary>
/// Reads the control plane's state and writes its changes, all those of a batch together. Remembers what is stored, so that
/// each change is an insert, an update guarded by the version it was read with, or a delete. One per leadership.
/// </summary>
internal sealed class StateStore
{
    private readonly Dictionary<string, (long Version, int Attempt)> gangs = [];
    private readonly Dictionary<string, HashSet<AllocationKey>> allocations = [];
    private readonly HashSet<string> deployments = [];

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
        var deploymentRows = await db.Deployments.AsNoTracking().ToListAsync(cancellationToken);
        deployments.UnionWith(deploymentRows.Select(row => $"{row.Project}/{row.Id}"));
        var replicas = await db.Replicas.AsNoTracking().ToListAsync(cancellationToken);
        var queueRows = await db.Queues.AsNoTracking().ToListAsync(cancellationToken);
        var capacity = await db.Capacity.AsNoTracking().SingleOrDefaultAsync(cancellationToken);
        return new ControlRecord(
            [.. live.Select(row => GangJson.Read<GangState>(row.State))],
            [.. nodeRows.Select(row => GangJson.Read<NodeState>(row.State))],
            [.. deploymentRows.Select(row => GangJson.Read<DeploymentState>(row.State))],
            [.. replicas.Select(row => (row.Id, row.Deployment, row.Revision))])
        {
            Capacity = capacity is null ? CapacityState.Empty : GangJson.Read<CapacityState>(capacity.State),
            Queues = [.. queueRows.Select(row => GangJson.Read<QueueSpec>(row.State))],
            History = await UsageAccounts.HistoryAsync(db, cancellationToken),
            Spent = await UsageAccounts.SpentAsync(db, now, cancellationToken),
        };
    }

    /// <summary>Adds changes to what is written; nothing is before its owner flushes.</summary>
    public void Write(RowWriter rows, ControlChanges changes)
    {
        var ended = changes.EndedAttempts.ToLookup(attempt => attempt.Gang);
        foreach (var gang in changes.Gangs)
        {
            foreach (var (_, attempt, outcome) in ended[gang.Gang])
            {
                Store(rows, gang, attempt, outcome);
            }

            Store(rows, gang);
        }

        foreach (var node in changes.Nodes)
        {
            rows.Add(Sql.PutNode, node.Node, GangJson.Write(node), node.LeaseUntil.ToUnixTimeMilliseconds());
        }

        foreach (string node in changes.ForgottenNodes)
        {
            rows.Add(Sql.DeleteNode, node);
        }

        if (changes.Capacity is { } capacity)
        {
            rows.Add(Sql.PutCapacity, GangJson.Write(capacity));
        }

        foreach (var deployment in changes.Deployments)
        {
            deployments.Add(deployment.Key);
            rows.Add(Sql.PutDeployment, deployment.Project, deployment.Id, GangJson.Write(deployment));
        }

        foreach (string key in changes.DeletedDeployments.Where(deployments.Remove))
        {
            int slash = key.IndexOf('/', StringComparison.Ordinal);
            rows.Add(Sql.DeleteDeployment, key[..slash], key[(slash + 1)..]);
        }

        foreach (var queue in changes.Queues)
        {
            rows.Add(Sql.PutQueue, queue.Name, GangJson.Write(queue));
        }

        foreach (var replica in changes.Replicas)
        {
            rows.Add(Sql.InsertReplica, replica.Id, replica.Deployment, replica.Revision);
        }

        foreach (string id in changes.ForgottenReplicas)
        {
            rows.Add(Sql.DeleteReplica, id);
        }
    }

    /// <summary>Adds the row of a new job.</summary>
    public static void Insert(RowWriter rows, JobRow job) => rows.Add(
        Sql.InsertJob, job.Id, job.Project, job.Uid, job.Sequence, job.Spec, job.Model, job.User, job.Predicted, job.CreatedUnixMs);

    /// <summary>An attempt's row says for whom it holds what since when, and later until when; how far it is is in its gang's row.</summary>
    private void Store(RowWriter rows, GangState gang, AttemptState attempt, StopOutcome? outcome)
    {
        var known = gangs.GetValueOrDefault(gang.Gang);
        long? end = attempt.EndedAt?.ToUnixTimeMilliseconds();
        string state = GangJson.Write(attempt);
        if (attempt.Number > known.Attempt)
        {
            rows.Add(
                Sql.InsertAttempt, gang.Gang, attempt.Number, attempt.PlacedAt.ToUnixTimeMilliseconds(), end, outcome?.ToString(), state,
                UsageAccounts.ResourceOf(gang), gang.Queue, gang.User, gang.Shape.DeviceKind, attempt.Held.Milli, attempt.PricePerHour);
            gangs[gang.Gang] = known with { Attempt = attempt.Number };
        }
        else
        {
            rows.Add(Sql.EndAttempt, gang.Gang, attempt.Number, end, outcome?.ToString(), state);
        }
    }

    private void Store(RowWriter rows, GangState gang)
    {
        int current = gang.Attempt?.Number ?? 0;
        if (gang.Attempt is { EndedAt: null } running && current > gangs.GetValueOrDefault(gang.Gang).Attempt)
        {
            Store(rows, gang, running, null);
        }

        long version = gangs.GetValueOrDefault(gang.Gang).Version;
        string stage = gang.Stage.ToString(), state = GangJson.Write(gang);
        if (version == 0)
        {
            rows.Add(Sql.InsertGang, gang.Gang, gang.Project, gang.Kind.ToString(), stage, gang.IsTerminal, current, state, 1L);
        }
        else
        {
            rows.AddGuarded(gang.Gang, Sql.UpdateGang, gang.Gang, version, stage, gang.IsTerminal, current, state, version + 1);
        }

        gangs[gang.Gang] = (version + 1, current);
        StoreAllocations(rows, gang);
        if (gang.IsTerminal)
        {
            gangs.Remove(gang.Gang);
            allocations.Remove(gang.Gang);
        }
    }

    private void StoreAllocations(RowWriter rows, GangState gang)
    {
        var held = HeldBy(gang.Gang);
        HashSet<AllocationKey> wanted = gang.IsActive && gang.Attempt is { } attempt
            ? [.. attempt.Members.Where(member => !member.Released).SelectMany(member => member.Ranks.SelectMany(rank => rank.Devices.Select(
                device => new AllocationKey(attempt.Number, member.Node, device, rank.Rank, rank.DeviceMilli))))]
            : [];
        if (wanted.Count == 0 && held.Count > 0)
        {
            rows.Add(Sql.DeleteAllocations, gang.Gang);
        }
        else
        {
            foreach (var key in held.Where(key => !wanted.Contains(key)))
            {
                rows.Add(Sql.DeleteAllocation, gang.Gang, key.Attempt, key.Node, key.Device, key.Rank);
            }

            foreach (var key in wanted.Where(key => !held.Contains(key)))
            {
                rows.Add(Sql.InsertAllocation, gang.Gang, key.Attempt, key.Node, key.Device, key.Rank, key.Milli);
            }
        }

        allocations[gang.Gang] = wanted;
    }

    private HashSet<AllocationKey> HeldBy(string gang) =>
        allocations.TryGetValue(gang, out var held) ? held : allocations[gang] = [];

    private readonly record struct AllocationKey(int Attempt, string Node, int Device, int Rank, int Milli);

    /// <summary>Statements that both databases take.</summary>
    private static class Sql
    {
        public const string InsertJob =
            """
            INSERT INTO jobs ("Id", "Project", "Uid", "Sequence", "Spec", "Model", "User", "Predicted", "CreatedUnixMs")
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
            """;

        public const string InsertGang =
            """INSERT INTO gangs ("Gang", "Project", "Kind", "Stage", "Terminal", "Attempt", "State", "Version") VALUES ($1, $2, $3, $4, $5, $6, $7, $8)""";

        public const string UpdateGang =
            """UPDATE gangs SET "Stage" = $3, "Terminal" = $4, "Attempt" = $5, "State" = $6, "Version" = $7 WHERE "Gang" = $1 AND "Version" = $2""";

        public const string InsertAttempt =
            """
            INSERT INTO attempts ("Gang", "Attempt", "PlacedUnixMs", "EndedUnixMs", "Outcome", "State", "Resource", "Queue", "User", "DeviceKind", "Milli", "PricePerHour")
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
            """;

        public const string EndAttempt = """UPDATE attempts SET "EndedUnixMs" = $3, "Outcome" = $4, "State" = $5 WHERE "Gang" = $1 AND "Attempt" = $2""";

        public const string InsertAllocation =
            """INSERT INTO allocations ("Gang", "Attempt", "Node", "Device", "Rank", "Milli") VALUES ($1, $2, $3, $4, $5, $6)""";

        public const string DeleteAllocation =
            """DELETE FROM allocations WHERE "Gang" = $1 AND "Attempt" = $2 AND "Node" = $3 AND "Device" = $4 AND "Rank" = $5""";

        public const string DeleteAllocations = """DELETE FROM allocations WHERE "Gang" = $1""";

        public const string PutNode =
            """
            INSERT INTO nodes ("Node", "State", "LeaseUnixMs") VALUES ($1, $2, $3)
            ON CONFLICT ("Node") DO UPDATE SET "State" = excluded."State", "LeaseUnixMs" = excluded."LeaseUnixMs"
            """;

        public const string PutDeployment =
            """
            INSERT INTO deployments ("Project", "Id", "State") VALUES ($1, $2, $3)
            ON CONFLICT ("Project", "Id") DO UPDATE SET "State" = excluded."State"
            """;

        public const string DeleteDeployment = """DELETE FROM deployments WHERE "Project" = $1 AND "Id" = $2""";

        public const string DeleteNode = """DELETE FROM nodes WHERE "Node" = $1""";

        public const string PutCapacity =
            """INSERT INTO capacity ("Id", "State") VALUES (1, $1) ON CONFLICT ("Id") DO UPDATE SET "State" = excluded."State" """;

        public const string PutQueue =
            """INSERT INTO queues ("Name", "State") VALUES ($1, $2) ON CONFLICT ("Name") DO UPDATE SET "State" = excluded."State" """;

        public const string InsertReplica = """INSERT INTO replicas ("Id", "Deployment", "Revision") VALUES ($1, $2, $3)""";

        public const string DeleteReplica = """DELETE FROM replicas WHERE "Id" = $1""";
    }
}
