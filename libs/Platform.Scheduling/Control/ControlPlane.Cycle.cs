using Platform.Core.Gangs;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Gangs;
using Platform.Scheduling.Placement;
using Platform.Scheduling.Queues;

namespace Platform.Scheduling.Control;

/// <summary>Queues and the cycle.</summary>
public sealed partial class ControlPlane
{
    /// <summary>Added to what a gang that makes room may take, before its places are no longer kept for the one that asked.</summary>
    private static readonly TimeSpan NominationSlack = TimeSpan.FromSeconds(30);

    private readonly SortedDictionary<string, QueueSpec> queues = new(StringComparer.Ordinal);
    private readonly Dictionary<RankRequest, double> asked = [];
    private readonly RuntimeForecast forecast = new();
    private QueueHistory history;

    /// <summary>Queues that were set up.</summary>
    public IReadOnlyCollection<QueueSpec> Queues => queues.Values;

    /// <summary>Sets up a queue or replaces what it may use. Gangs that run go on, even when it now uses too much.</summary>
    /// <returns>What is wrong; empty when it was taken.</returns>
    public IReadOnlyList<string> PutQueue(QueueSpec queue)
    {
        var wrong = QueueSpec.Check([.. queues.Values.Where(known => known.Name != queue.Name), queue]);
        if (wrong.Count == 0)
        {
            queues[queue.Name] = queue;
            changes.Queues.Add(queue.Name);
            cycleNeeded = true;
        }

        return wrong;
    }

    /// <summary>Changes a waiting or running gang's priority.</summary>
    /// <returns>Whether the gang is known and not over.</returns>
    public bool SetPriority(string gang, int priority)
    {
        if (Find(gang) is not { IsTerminal: false } known)
        {
            return false;
        }

        gangs[gang] = known with { Priority = priority };
        changes.Gangs.Add(gang);
        cycleNeeded = true;
        return true;
    }

    /// <summary>Everything the next cycle would decide from. Gangs that a budget keeps from starting are not among those that wait.</summary>
    public CycleInput Input(DateTimeOffset now) => Input(now, BeyondBudget(now).ContainsKey);

    private CycleInput Input(DateTimeOffset now, Func<string, bool> isLeftOut)
    {
        var surplus = Surplus();
        var budgets = queues.Values.Any(queue => queue.Budget is not null) ? Budgets(now) : null;
        return new()
        {
            Cluster = Snapshot(),
            Waiting = [.. gangs.Values.Where(gang => gang.Stage == GangStage.Queued && !isLeftOut(gang.Gang)).Select(gang => WaitingRow(gang, surplus.Contains(gang.Gang), now))],
            Running = [.. gangs.Values.Where(gang => gang.IsActive).Select(gang => RunningRow(gang, surplus.Contains(gang.Gang), CanResize(gang), now))],
            Queues = [.. queues.Values],
            History = history,
            Mix = Mix(),
            Options = options.Cycle,
        };

        // One whose budget is used up would not start again.
        bool CanResize(GangState gang) => gang.Kind == WorkloadKind.Training && (budgets is null || BudgetReason(gang, budgets, now) is null);
    }

    /// <summary>A gang that trains has taken a step; it tells when the gang will be over.</summary>
    /// <param name="gang">The gang.</param>
    /// <param name="attempt">Its attempt.</param>
    /// <param name="step">Steps done.</param>
    /// <param name="stepSeconds">Time of one.</param>
    /// <param name="now">The time.</param>
    public void NoteStep(string gang, int attempt, int step, double stepSeconds, DateTimeOffset now) => forecast.Note(gang, attempt, step, stepSeconds, now);

    /// <summary>Runs one cycle.</summary>
    /// <returns>Whether another one may start more.</returns>
    private bool RunCycle(DateTimeOffset now)
    {
        var beyondBudget = BeyondBudget(now);
        var classes = new WaitingClasses(gangs.Values.Where(gang => gang.Stage == GangStage.Queued && IsPlain(gang, now) && !beyondBudget.ContainsKey(gang.Gang)));
        var input = Input(now, gang => beyondBudget.ContainsKey(gang) || classes.LeftOut.Contains(gang));
        history = history.After(
            input.Running.GroupBy(gang => (gang.Queue, gang.Rank.DeviceKind)).ToDictionary(queue => queue.Key, queue => queue.Sum(gang => gang.Milli)), now);
        KeepHistory(now);
        var plan = core.Decide(input, now);
        ForgetRows();
        deferrals = plan.Deferred.ToDictionary(deferral => deferral.Gang);
        var leftOut = classes.Explain(deferrals, out bool again);
        foreach (var deferral in leftOut)
        {
            deferrals[deferral.Gang] = deferral;
        }

        foreach (var (gang, reason) in beyondBudget)
        {
            deferrals[gang] = new GangDeferral(gang, reason, deferrals.Count + 1);
        }

        foreach (var placement in plan.Placed)
        {
            Apply(placement.Gang, new GangEvent.Placed(placement, newToken(), traceDecision(gangs[placement.Gang])) { PricePerHour = PriceOf(gangs[placement.Gang].Shape.DeviceKind) }, now);
        }

        var until = now + options.Gangs.CheckpointGrace + options.Gangs.StopGrace + NominationSlack;
        foreach (var width in plan.Narrowed)
        {
            Apply(width.Gang, new GangEvent.Nominated(width.Placement, until), now);
            foreach (var resized in width.Resized)
            {
                Apply(resized.Gang, new GangEvent.ResizeRequested(resized, until, $"makes room for {width.Gang}"), now);
            }
        }

        foreach (var resized in plan.Widened)
        {
            Apply(resized.Gang, new GangEvent.ResizeRequested(resized, until, "devices are idle"), now);
        }

        foreach (var room in plan.Preempted)
        {
            Apply(room.Gang, new GangEvent.Nominated(room.Placement, until), now);
            foreach (string victim in room.Victims)
            {
                Apply(victim, new GangEvent.YieldRequested($"makes room for {room.Gang}"), now);
            }
        }

        return again;
    }

    /// <summary>Whether nothing but devices keeps the gang waiting, and nothing but its class tells where it may go.</summary>
    private static bool IsPlain(GangState gang, DateTimeOffset now) =>
        !(gang.NotBefore > now) && !(gang.Nomination?.Until > now) && (gang.ConsecutiveFailures == 0 || gang.AvoidNodes.Count == 0);

    /// <summary>Remembers what is asked for: kinds of rank that come often count in choosing places.</summary>
    private void Remember(GangState gang)
    {
        var kind = gang.Shape.Rank with { MemoryBytes = 0, AllowsSpot = false, NodeGroup = "", Cluster = "" };
        asked[kind] = asked.GetValueOrDefault(kind) + gang.Shape.Mesh.WorldSize;
    }

    private PendingGang Waiting(GangState gang, bool surplus, DateTimeOffset now) => new()
    {
        Gang = gang.Gang,
        Shape = gang.Shape,
        Queue = gang.Queue,
        Priority = gang.Priority,
        SubmittedAt = gang.SubmittedAt,
        NotBefore = gang.NotBefore,
        AvoidNodes = gang.AvoidNodes,
        ExpectedRuntime = options.PredictRuntimes ? forecast.RuntimeOf(gang) : gang.ExpectedRuntime,
        Surplus = surplus,
        Nominated = gang.Nomination is { } nomination && nomination.Until > now ? nomination.Placement : null,
    };

    private RunningGang Running(GangState gang, bool surplus, bool canResize, DateTimeOffset now)
    {
        var attempt = gang.Attempt ?? throw new InvalidOperationException($"{gang.Gang} is {gang.Stage} without an attempt.");
        return new RunningGang
        {
            Placement = new GangPlacement(gang.Gang, [.. attempt.Members.Where(member => !member.Released).Select(member => new MemberPlacement(member.Node, member.Ranks))]),
            Rank = gang.Shape.Rank,
            Queue = gang.Queue,
            Priority = gang.Priority,
            RunningSince = attempt.RunningAt,
            SavedAt = gang.LatestCheckpoint is { } saved && saved.Attempt == attempt.Number ? saved.CommittedAt : null,
            ExpectedEnd = options.PredictRuntimes ? forecast.EndOf(gang) : (attempt.RunningAt ?? attempt.PlacedAt) + gang.ExpectedRuntime,
            MayYield = gang.Stage == GangStage.Running && !forecast.IsExporting(gang),
            Surplus = surplus,
            Borrows = attempt.Borrows,
            Shape = canResize ? gang.Shape : null,
            Returns = gang.Stage == GangStage.Stopping && attempt.Outcome == StopOutcome.Yield && gang.Nomination is { } back && back.Until > now ? back.Placement : null,
        };
    }
}
