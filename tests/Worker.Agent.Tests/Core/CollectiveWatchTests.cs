using Platform.Core.Gangs;
using Platform.Worker.Agent.Core;
using Xunit;

namespace Platform.Worker.Agent.Tests.Core;

public sealed class CollectiveWatchTests
{
    private static readonly DateTimeOffset Start = DateTimeOffset.UnixEpoch;
    private static readonly TimeSpan Timeout = TimeSpan.FromSeconds(60);

    [Fact]
    public void Names_the_rank_that_has_not_entered_the_collective_and_those_that_wait_for_it()
    {
        RankReading[] ranks =
        [
            Reading(4, [new CollectiveReading("tensor 2", 4711, "all-reduce", 61)]),
            Reading(5, [new CollectiveReading("tensor 2", 4710, "all-reduce", 0)]),
        ];
        GangFailure? failure = CollectiveWatch.Check(ranks, Timeout, Start + Timeout);
        Assert.Equal((FailureCode.RankHung, (int?)5), (failure?.Code, failure?.Rank));
        Assert.Contains("Rank 5 has not entered all-reduce #4711 of tensor 2; rank 4 waited in it for 61 s.", failure!.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Blames_the_rank_that_waits_nowhere_rather_than_one_that_waits_elsewhere()
    {
        RankReading[] ranks =
        [
            Reading(0, [new CollectiveReading("tensor 0", 9, "all-reduce", 70), new CollectiveReading("data 0", 3, "all-reduce", 0)]),
            Reading(1, [new CollectiveReading("tensor 0", 8, "all-reduce", 0), new CollectiveReading("data 1", 3, "all-gather", 65)]),
            Reading(3, [new CollectiveReading("tensor 1", 8, "all-reduce", 0), new CollectiveReading("data 1", 2, "all-gather", 0)]),
        ];
        Assert.Equal(3, CollectiveWatch.Check(ranks, Timeout, Start + Timeout)?.Rank);
    }

    [Fact]
    public void Says_that_the_missing_rank_is_elsewhere_when_all_of_this_node_have_entered()
    {
        RankReading[] ranks = [Reading(0, [new CollectiveReading("data 0", 3, "all-reduce", 90)])];
        GangFailure? failure = CollectiveWatch.Check(ranks, Timeout, Start + Timeout);
        Assert.Null(failure?.Rank);
        Assert.Contains("on another node", failure?.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_rank_that_is_busy_elsewhere_and_moves_does_not_count_as_hung()
    {
        RankReading waiting = Reading(1, [new CollectiveReading("world", 1, "barrier", 300)]);
        RankReading before = Reading(0, []);
        RankReading busy = RankReading.Next(before, 0, "tokenizing", 0.4, [], hasPoints: false, Start + TimeSpan.FromSeconds(30));
        Assert.Null(CollectiveWatch.Check([busy, waiting], Timeout, Start + Timeout));
        RankReading stuck = RankReading.Next(busy, 0, "tokenizing", 0.4, [], hasPoints: false, Start + TimeSpan.FromSeconds(95));
        Assert.NotNull(CollectiveWatch.Check(
            [stuck, waiting with { ReportedAt = Start + TimeSpan.FromSeconds(95) }], Timeout, Start + TimeSpan.FromSeconds(95)));
    }

    [Fact]
    public void A_rank_that_no_longer_reports_counts_as_hung()
    {
        GangFailure? failure = CollectiveWatch.Check(
            [Reading(2, []) with { ReportedAt = Start, MovedAt = Start + Timeout }], Timeout, Start + Timeout);
        Assert.Equal((FailureCode.RankHung, (int?)2), (failure?.Code, failure?.Rank));
    }

    private static RankReading Reading(int rank, CollectiveReading[] collectives) =>
        new(rank, "training", null, collectives, Start, Start + Timeout);
}
