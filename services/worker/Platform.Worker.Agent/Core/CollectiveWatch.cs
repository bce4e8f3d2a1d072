using Platform.Core.Gangs;

namespace Platform.Worker.Agent.Core;

/// <summary>What one group of a rank was doing when it reported.</summary>
/// <param name="Group">Group; the same name on all of its ranks.</param>
/// <param name="Sequence">Number of the collective it entered last.</param>
/// <param name="Operation">The collective.</param>
/// <param name="SecondsInside">How long it had been inside; 0 when it was not.</param>
public sealed record CollectiveReading(string Group, long Sequence, string Operation, double SecondsInside);

/// <summary>What a rank last reported, and since when nothing of it has changed.</summary>
/// <param name="Rank">Rank.</param>
/// <param name="Phase">What it does.</param>
/// <param name="PhaseFraction">How far it is.</param>
/// <param name="Collectives">Its groups.</param>
/// <param name="MovedAt">When phase, fraction, steps or a collective's number last changed.</param>
/// <param name="ReportedAt">When it last reported.</param>
public sealed record RankReading(
    int Rank, string Phase, double? PhaseFraction, IReadOnlyList<CollectiveReading> Collectives,
    DateTimeOffset MovedAt, DateTimeOffset ReportedAt)
{
    /// <summary>The reading after another report.</summary>
    /// <param name="before">Reading before; null for the first report.</param>
    /// <param name="rank">Rank.</param>
    /// <param name="phase">Phase it reports.</param>
    /// <param name="fraction">Fraction it reports.</param>
    /// <param name="collectives">Collectives it reports.</param>
    /// <param name="hasPoints">It reports finished steps.</param>
    /// <param name="now">Time.</param>
    public static RankReading Next(
        RankReading? before, int rank, string phase, double? fraction, IReadOnlyList<CollectiveReading> collectives,
        bool hasPoints, DateTimeOffset now)
    {
        bool stands = before is not null && !hasPoints && before.Phase == phase && before.PhaseFraction == fraction
            && before.Collectives.Select(c => (c.Group, c.Sequence)).SequenceEqual(collectives.Select(c => (c.Group, c.Sequence)));
        return new RankReading(rank, phase, fraction, collectives, stands && before is not null ? before.MovedAt : now, now);
    }
}

/// <summary>
/// Finds ranks that no longer take part. A gang hangs when, for the whole timeout, nothing has moved on any rank of
/// the node while one of them waits inside a collective: a rank that is busy elsewhere (tokenizing, saving) moves.
/// </summary>
public static class CollectiveWatch
{
    /// <summary>Looks at the ranks of one attempt on one node.</summary>
    /// <param name="ranks">Their last reports.</param>
    /// <param name="timeout">How long nothing may move.</param>
    /// <param name="now">Time.</param>
    /// <returns>Why the gang hangs; null while it does not.</returns>
    public static GangFailure? Check(IReadOnlyList<RankReading> ranks, TimeSpan timeout, DateTimeOffset now)
    {
        RankReading? silent = ranks.FirstOrDefault(r => now - r.ReportedAt >= timeout);
        if (silent is not null)
        {
            return Hung(silent.Rank, $"Rank {silent.Rank} has not reported for {(now - silent.ReportedAt).TotalSeconds:F0} s.");
        }

        if (ranks.Count == 0 || ranks.Any(r => now - r.MovedAt < timeout))
        {
            return null;
        }

        CollectiveReading? stuck = ranks.SelectMany(r => r.Collectives)
            .Where(c => c.SecondsInside >= timeout.TotalSeconds)
            .MaxBy(c => c.SecondsInside);
        return stuck is null ? null : Describe(ranks, timeout);
    }

    private static GangFailure Describe(IReadOnlyList<RankReading> ranks, TimeSpan timeout)
    {
        var waits = ranks
            .SelectMany(r => r.Collectives.Where(c => c.SecondsInside > 0).Select(c => (r.Rank, Collective: c)))
            .GroupBy(w => (w.Collective.Group, w.Collective.Sequence, w.Collective.Operation))
            .OrderBy(g => g.Key.Group, StringComparer.Ordinal)
            .ToList();
        int? culprit = null;
        var sentences = new List<string>();
        foreach (var wait in waits)
        {
            string what = $"{wait.Key.Operation} #{wait.Key.Sequence} of {wait.Key.Group}";
            string waiting = $"{Ranks(wait.Select(w => w.Rank))} waited in it for {wait.Max(w => w.Collective.SecondsInside):F0} s";
            RankReading[] missing =
            [
                .. ranks.Where(r => r.Collectives.Any(c => c.Group == wait.Key.Group && c.Sequence < wait.Key.Sequence)),
            ];
            if (missing.Length == 0)
            {
                sentences.Add($"Somebody on another node has not entered {what}; {waiting}.");
                continue;
            }

            // A rank that itself waits elsewhere is a consequence; one that waits nowhere is the cause.
            culprit ??= missing.FirstOrDefault(r => r.Collectives.All(c => c.SecondsInside <= 0))?.Rank;
            sentences.Add($"{Capital(Ranks(missing.Select(r => r.Rank)))} has not entered {what}; {waiting}.");
        }

        return Hung(culprit, $"Nothing has moved for {timeout.TotalSeconds:F0} s. {string.Join(' ', sentences)}");
    }

    private static string Ranks(IEnumerable<int> ranks)
    {
        int[] sorted = [.. ranks.Distinct().Order()];
        return sorted.Length == 1 ? $"rank {sorted[0]}" : $"ranks {string.Join(", ", sorted)}";
    }

    private static string Capital(string text) => $"{char.ToUpperInvariant(text[0])}{text[1..]}";

    private static GangFailure Hung(int? rank, string message) => new() { Code = FailureCode.RankHung, Message = message, Rank = rank };
}
