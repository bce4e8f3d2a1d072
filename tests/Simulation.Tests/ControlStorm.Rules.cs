using Platform.Core.Gangs;
using Platform.Scheduling.Control;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Gangs;

namespace Platform.Simulation.Tests;

/// <summary>What must hold after every event.</summary>
internal sealed partial class ControlStorm
{
    private void Check(string what, ControlChanges changes)
    {
        foreach (string violation in Invariants.Check(plane.Gangs, plane.Nodes, now, Options))
        {
            Violated(what, violation);
        }

        var started = new HashSet<string>();
        foreach (var gang in changes.Gangs)
        {
            Record($"{gang.Gang} {gang.Stage} {gang.Attempt?.Number}");
            succeeded += gang.Stage == GangStage.Succeeded ? 1 : 0;
            CheckWhole(what, gang);
            if (gang.Attempt is { } attempt && attempts.GetValueOrDefault(gang.Gang) < attempt.Number)
            {
                attempts[gang.Gang] = attempt.Number;
                placed++;
                started.Add(gang.Queue);
                Record(string.Join(" ", attempt.Members.Select(member => $"{member.Node}:{string.Join(",", member.Ranks.SelectMany(rank => rank.Devices))}")));
            }

            CheckRoom(what, gang);
        }

        CheckQuotas(what, started);
        if (events % 16 == 0)
        {
            // What the core remembers from all the cycles before changes nothing.
            var input = plane.Input(now);
            string remembered = Describe(core.Decide(input, now)), anew = Describe(SchedulingCycle.Decide(input, now));
            if (remembered != anew)
            {
                Violated(what, $"A core that has seen other cycles decides {remembered}, a new one {anew}.");
            }
        }
    }

    /// <summary>As soon as one member has failed or let go, all the others are told to stop.</summary>
    private void CheckWhole(string what, GangState gang)
    {
        if (gang is { Stage: GangStage.Preparing or GangStage.Starting or GangStage.Running, Attempt: { } attempt }
            && attempt.Members.Any(member => member.Released || member.Phase is MemberPhase.Failed or MemberPhase.Released))
        {
            Violated(what, $"{gang.Gang} is {gang.Stage} in part.");
        }
    }

    /// <summary>Whoever asked another to make room is not asked by it in turn, unless quotas or priorities changed in between.</summary>
    private void CheckRoom(string what, GangState gang)
    {
        const string makesRoom = "makes room for ";
        if (gang is not { Stage: GangStage.Stopping, Attempt.StopReason: { } reason } || !reason.StartsWith(makesRoom, StringComparison.Ordinal))
        {
            if (gang.IsTerminal)
            {
                asked.RemoveWhere(pair => pair.Asks == gang.Gang || pair.Leaves == gang.Gang);
            }

            return;
        }

        string asks = reason[makesRoom.Length..];
        if (asked.Contains((gang.Gang, asks)))
        {
            Violated(what, $"{asks} and {gang.Gang} ask each other to make room.");
        }

        made += asked.Add((asks, gang.Gang)) ? 1 : 0;
    }

    /// <summary>
    /// A gang starts only within its queue's own devices and what that may borrow, and what queues have of others' devices is
    /// what those lend. Quotas that were cut stop nobody who runs, so only queues in which a gang has just started are looked at.
    /// </summary>
    private void CheckQuotas(string what, HashSet<string> started)
    {
        var used = plane.Gangs.Where(gang => gang.IsActive)
            .GroupBy(gang => gang.Queue).ToDictionary(queue => queue.Key, queue => queue.Sum(gang => (gang.Attempt?.Members ?? []).Where(member => !member.Released).Sum(member => (long)member.Ranks.Count) * gang.Shape.Rank.TotalMilli));
        long beyond = 0, lendable = 0;
        foreach (string queue in Leaves)
        {
            var (nominal, _, guaranteed) = LimitsOf(queue);
            beyond += Math.Max(0, used.GetValueOrDefault(queue) - guaranteed);
            lendable += nominal - guaranteed;
        }

        foreach (string queue in started)
        {
            var (nominal, borrowing, guaranteed) = LimitsOf(queue);
            long own = used.GetValueOrDefault(queue);
            if (borrowing is { } most && own > nominal + most)
            {
                Violated(what, $"{queue} uses {own}‰ of its own {nominal}‰ and may borrow {most}‰.");
            }

            if (own > guaranteed && beyond > lendable)
            {
                Violated(what, $"{queue} starts a gang, and {beyond}‰ are in use of the {lendable}‰ that queues share.");
            }
        }
    }

    private (long Nominal, long? Borrowing, long Guaranteed) LimitsOf(string queue)
    {
        var spec = queues[queue];
        long nominal = 1000L * spec.Nominal[Kind];
        return (nominal, spec.BorrowingLimit.TryGetValue(Kind, out int limit) ? 1000L * limit : null,
            spec.LendingLimit.TryGetValue(Kind, out int lends) ? Math.Max(0, nominal - (1000L * lends)) : 0);
    }

    private static string Describe(CyclePlan plan) => string.Join("; ",
    [
        .. plan.Placed.Select(place => $"{place.Gang}{(place.Borrows ? " borrows" : "")} on {Places(place)}"),
        .. plan.Preempted.Select(room => $"{room.Gang} asks {string.Join(",", room.Victims)} for {Places(room.Placement)}"),
        .. plan.Narrowed.Select(width => $"{width.Gang} narrows {string.Join(",", width.Resized.Select(each => $"{each.Gang} to {each.To}"))}"),
        .. plan.Widened.Select(width => $"{width.Gang} widens to {width.To}"),
        .. plan.Deferred.Select(waits => $"{waits.Position} {waits.Gang} {waits.Reason.Code} {waits.Reason.Message} {waits.EstimatedStart:O}"),
    ]);

    private static string Places(GangPlacement place) => string.Join(" ", place.Members.SelectMany(member => member.Ranks.Select(rank => $"{rank.Rank}@{member.Node}/{string.Join("+", rank.Devices)}")));

    private void Record(string what)
    {
        foreach (char letter in what)
        {
            trace = (trace ^ letter) * 1099511628211;
        }
    }

    private void Violated(string what, string rule) => throw new SimulationException($"seed {seed}, event {events} ({what}): {rule}");
}
