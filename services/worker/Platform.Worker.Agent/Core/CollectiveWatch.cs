using Platform.Core.Gangs;

namespace Platform.Worker.Agent.Core;

/// <summary>What a rank last reported, and since when nothing of it has changed.</summary>
/// <param name="Rank">Rank.</param>
/// <param name="Phase">What it does.</param>
/// <param name="PhaseFraction">How far it is.</param>
/// <param name="Collectives">Its groups.</param>
/// <param name="MovedAt">When phase, fraction, steps or a collective's number last changed.</param>
/// <param name="ReportedAt">When it last reported.</param>
public sealed record RankReading(
    int Rank, string Phase, double? PhaseFraction, IReadOnlyList<GroupStall> Collectives,
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
        RankReading? before, int rank, string phase, double? fraction, IReadOnlyList<GroupStall> collectives,
        bool hasPoints, DateTimeOffset now)
    {
        bool stands = before is not null && !hasPoints && before.Phase == phase && before.PhaseFraction == fraction
            && before.Collectives.Select(c => (c.Group, c.Sequence, c.Operation)).SequenceEqual(collectives.Select(c => (c.Group, c.Sequence, c.Operation)));
        return new RankReading(rank, phase, fraction, collectives, stands && before is not null ? before.MovedAt : now, now);
    }

    /// <summary>What is said of the rank when its gang stands still.</summary>
    /// <param name="timeout">How long nothing may move; a rank that has been silent for half of it does not run.</param>
    /// <param name="now">Time.</param>
    public RankStall Stall(TimeSpan timeout, DateTimeOffset now) =>
        new(Rank, Phase, (now - ReportedAt).TotalSeconds, now - ReportedAt >= timeout / 2, Collectives);
}

/// <summary>
/// Finds ranks that no longer take part. A gang hangs when, for the whole timeout, nothing has moved on any rank of
/// the node while one of them waits inside a collective: a rank that is busy elsewhere (tokenizing, saving) moves.
/// </summary>
public static class CollectiveWatch
{
    /// <summary>Looks at the ranks of one attempt on one node.</summary>
    /// <param name="node">The node.</param>
    /// <param name="ranks">Their last reports.</param>
    /// <param name="timeout">How long nothing may move.</param>
    /// <param name="now">Time.</param>
    /// <returns>Why the gang hangs, as far as it can be told from this node; null while it does not.</returns>
    public static GangFailure? Check(string node, IReadOnlyList<RankReading> ranks, TimeSpan timeout, DateTimeOffset now)
    {
        bool silent = ranks.Any(r => now - r.ReportedAt >= timeout);
        bool stuck = ranks.Count > 0 && ranks.All(r => now - r.MovedAt >= timeout)
            && ranks.Any(r => r.Collectives.Any(c => c.SecondsInside >= timeout.TotalSeconds));
        if (!silent && !stuck)
        {
            return null;
        }

        return HangDiagnosis.Of([.. ranks.Select(r => (node, r.Stall(timeout, now)))]) is { } diagnosis
            ? diagnosis with { Node = diagnosis.Node ?? node }
            : null;
    }

    /// <summary>What the ranks were doing, to be put together with what other nodes know; empty when they moved lately.</summary>
    /// <param name="ranks">Their last reports.</param>
    /// <param name="timeout">How long nothing may move before a gang counts as hung.</param>
    /// <param name="now">Time.</param>
    public static IReadOnlyList<RankStall> Stalls(IReadOnlyList<RankReading> ranks, TimeSpan timeout, DateTimeOffset now) =>
        ranks.Any(r => now - r.ReportedAt >= timeout / 2) || (ranks.Count > 0 && ranks.All(r => now - r.MovedAt >= timeout / 2))
            ? [.. ranks.Select(r => r.Stall(timeout, now))]
            : [];
}
