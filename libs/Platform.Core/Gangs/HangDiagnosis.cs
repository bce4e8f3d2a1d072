using System.Globalization;

namespace Platform.Core.Gangs;

/// <summary>
/// Finds the rank for which a gang stands still, from what the agents of its nodes last heard of each rank. A rank that
/// waits is a consequence; the cause is one that others wait for and that itself waits nowhere, or whose process does not run.
/// </summary>
public static class HangDiagnosis
{
    private const int MostWaits = 6;
    private const int MostRanks = 16;

    /// <summary>The failure that names the culprit, its group and collective, and what the others waited for.</summary>
    /// <param name="ranks">Ranks with their nodes, all that are known.</param>
    /// <returns>Null when nothing is known or no rank waits or is silent.</returns>
    public static GangFailure? Of(IReadOnlyList<(string Node, RankStall Stall)> ranks)
    {
        ArgumentNullException.ThrowIfNull(ranks);
        var waits = WaitsOf([.. ranks.Select(rank => rank.Stall)]);
        var culprit = Culprit(ranks, waits);
        if (culprit is null && waits.Count == 0)
            return null;
        int[] elsewhere = culprit is null ? [.. waits.SelectMany(wait => wait.Missing).Except(ranks.Select(rank => rank.Stall.Rank)).Distinct().Order()] : [];
        var sentences = new List<string>
        {
            culprit is { } found ? Describe(found.Node, found.Stall, waits)
            : elsewhere.Length > 0 ? DescribeUnknown(elsewhere, waits)
            : "No rank is found that waits for none: the ranks wait for each other.",
        };
        sentences.AddRange(waits.Take(MostWaits).Select(Describe));
        if (waits.Count > MostWaits)
            sentences.Add($"{waits.Count - MostWaits} more collectives wait.");
        return new GangFailure
        {
            Code = FailureCode.RankHung,
            Message = string.Join(' ', sentences),
            Rank = culprit?.Stall.Rank ?? (elsewhere.Length == 1 ? elsewhere[0] : null),
            Node = culprit?.Node,
        };
    }

    /// <summary>One operation that cannot go on, those directly waiting for the fewest others first.</summary>
    private static List<Wait> WaitsOf(IReadOnlyList<RankStall> ranks) =>
    [
        .. ranks.Where(rank => !rank.IsSilent)
            .SelectMany(rank => rank.Groups.Where(group => group.SecondsInside > 0).Select(group => (rank.Rank, Group: group)))
            .GroupBy(entry => (entry.Group.Group, entry.Group.Operation))
            .Select(entries => new Wait(
                entries.Key.Group, entries.Key.Operation, [.. entries.Select(entry => entry.Rank).Order()],
                Missing(entries.First().Group, [.. entries.Select(entry => entry.Rank)], entries.SelectMany(entry => entry.Group.WaitingFor), ranks),
                entries.Max(entry => entry.Group.SecondsInside)))
            .OrderByDescending(wait => wait.Seconds).ThenBy(wait => wait.Group, StringComparer.Ordinal),
    ];

    /// <summary>Ranks that have not come: those a waiting rank knows of, and those whose own number in the group is lower.</summary>
    private static IReadOnlyList<int> Missing(GroupStall group, IReadOnlyList<int> waiting, IEnumerable<int> known, IReadOnlyList<RankStall> ranks) =>
    [
        .. known.Concat(ranks.Where(rank => rank.Groups.Any(own => own.Group == group.Group && own.Sequence < group.Sequence)).Select(rank => rank.Rank))
            .Except(waiting).Distinct().Order(),
    ];

    private static (string Node, RankStall Stall)? Culprit(IReadOnlyList<(string Node, RankStall Stall)> ranks, IReadOnlyList<Wait> waits)
    {
        var awaited = waits.SelectMany(wait => wait.Missing).ToHashSet();
        var suspects = ranks.Where(rank => rank.Stall.IsSilent).OrderByDescending(rank => awaited.Contains(rank.Stall.Rank)).ThenByDescending(rank => rank.Stall.SilentSeconds)
            .Concat(ranks.Where(rank => awaited.Contains(rank.Stall.Rank) && rank.Stall.Groups.All(group => group.SecondsInside <= 0)).OrderBy(rank => rank.Stall.Rank));
        foreach (var suspect in suspects)
            return suspect;
        return null;
    }

    private static string Describe(string node, RankStall rank, IReadOnlyList<Wait> waits)
    {
        var state = rank.IsSilent
            ? $"it has not reported for {Seconds(rank.SilentSeconds)} s: its process does not run"
            : $"it is in phase '{rank.Phase}' and in no collective";
        if (waits.FirstOrDefault(wait => wait.Missing.Contains(rank.Rank)) is { } missed)
            return $"Rank {rank.Rank} on {node} has not {Come(missed)} {missed.Operation} of {missed.Group}; {state}.";
        if (waits.FirstOrDefault(wait => rank.Groups.Any(group => group.Group == wait.Group)) is { } shared)
            return $"Rank {rank.Rank} on {node} has not finished {shared.Operation} of {shared.Group}; {state}.";
        return $"Rank {rank.Rank} on {node} stands still; {state}.";
    }

    private static string DescribeUnknown(IReadOnlyList<int> ranks, IReadOnlyList<Wait> waits)
    {
        var missed = waits.First(wait => wait.Missing.Contains(ranks[0]));
        var (have, them) = ranks.Count == 1 ? ("has", "it") : ("have", "them");
        return $"{Capital(Ranks(ranks))} {have} not {Come(missed)} {missed.Operation} of {missed.Group}; nothing more is known of {them}.";
    }

    // Both ends of a message come to it; a collective is entered.
    private static string Come(Wait wait) => wait.Operation.StartsWith("message", StringComparison.Ordinal) ? "come to" : "entered";

    private static string Describe(Wait wait)
    {
        var (who, what, time) = (Ranks(wait.Waiting), $"{wait.Operation} of {wait.Group}", Seconds(wait.Seconds));
        return wait.Missing.Count == 0
            ? $"{Capital(who)} waited in {what} for {time} s."
            : $"{Capital(who)} waited in {what} for {Ranks(wait.Missing)} for {time} s.";
    }

    private static string Ranks(IReadOnlyList<int> ranks)
    {
        if (ranks.Count == 1)
            return $"rank {ranks[0]}";
        var more = ranks.Count > MostRanks ? $" and {ranks.Count - MostRanks} more" : "";
        return $"ranks {string.Join(", ", ranks.Take(MostRanks))}{more}";
    }

    private static string Seconds(double seconds) => seconds.ToString("F0", CultureInfo.InvariantCulture);

    private static string Capital(string text) => $"{char.ToUpperInvariant(text[0])}{text[1..]}";

    private sealed record Wait(string Group, string Operation, IReadOnlyList<int> Waiting, IReadOnlyList<int> Missing, double Seconds);
}
