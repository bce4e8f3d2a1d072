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
            Reading(4, [Stall("tensor 2", 4711, "all-reduce", 61)]),
            Reading(5, [Stall("tensor 2", 4710, "all-reduce", 0)]),
        ];
        GangFailure? failure = CollectiveWatch.Check("here", ranks, Timeout, Start + Timeout);
        Assert.Equal((FailureCode.RankHung, (int?)5), (failure?.Code, failure?.Rank));
        Assert.Contains("Rank 5 on here has not entered all-reduce #4711 of tensor 2; it is in phase 'training' and in no collective. Rank 4 waited in all-reduce #4711 of tensor 2 for rank 5 for 61 s.", failure!.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Blames_the_rank_that_waits_nowhere_rather_than_one_that_waits_elsewhere()
    {
        RankReading[] ranks =
        [
            Reading(0, [Stall("tensor 0", 9, "all-reduce", 70), Stall("data 0", 3, "all-reduce", 0)]),
            Reading(1, [Stall("tensor 0", 8, "all-reduce", 0), Stall("data 1", 3, "all-gather", 65)]),
            Reading(3, [Stall("tensor 1", 8, "all-reduce", 0), Stall("data 1", 2, "all-gather", 0)]),
        ];
        Assert.Equal(3, CollectiveWatch.Check("here", ranks, Timeout, Start + Timeout)?.Rank);
    }

    [Fact]
    public void Says_that_the_missing_rank_is_elsewhere_when_all_of_this_node_have_entered()
    {
        RankReading[] ranks = [Reading(0, [Stall("data 0", 3, "all-reduce", 90, 6)])];
        GangFailure? failure = CollectiveWatch.Check("here", ranks, Timeout, Start + Timeout);
        Assert.Equal(6, failure?.Rank);
        Assert.StartsWith("Rank 6 has not entered all-reduce #3 of data 0; nothing more is known of it.", failure?.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_rank_that_is_busy_elsewhere_and_moves_does_not_count_as_hung()
    {
        RankReading waiting = Reading(1, [Stall("world", 1, "barrier", 300)]);
        RankReading before = Reading(0, []);
        RankReading busy = RankReading.Next(before, 0, "tokenizing", 0.4, [], hasPoints: false, Start + TimeSpan.FromSeconds(30));
        Assert.Null(CollectiveWatch.Check("here", [busy, waiting], Timeout, Start + Timeout));
        RankReading stuck = RankReading.Next(busy, 0, "tokenizing", 0.4, [], hasPoints: false, Start + TimeSpan.FromSeconds(95));
        Assert.NotNull(CollectiveWatch.Check(
            "here",
            [stuck, waiting with { ReportedAt = Start + TimeSpan.FromSeconds(95) }], Timeout, Start + TimeSpan.FromSeconds(95)));
    }

    [Fact]
    public void A_rank_that_no_longer_reports_counts_as_hung()
    {
        GangFailure? failure = CollectiveWatch.Check(
            "here",
            [Reading(2, []) with { ReportedAt = Start, MovedAt = Start + Timeout }], Timeout, Start + Timeout);
        Assert.Equal((FailureCode.RankHung, (int?)2), (failure?.Code, failure?.Rank));
    }

    [Fact]
    public void Says_what_ranks_did_only_when_they_stood_still()
    {
        RankReading[] ranks = [Reading(0, [Stall("data 0", 3, "all-reduce", 40)]), Reading(1, []) with { ReportedAt = Start }];

        Assert.Empty(CollectiveWatch.Stalls(ranks, Timeout, Start + TimeSpan.FromSeconds(29)));
        IReadOnlyList<RankStall> stalls = CollectiveWatch.Stalls(ranks, Timeout, Start + TimeSpan.FromSeconds(31));
        Assert.Equal([false, true], stalls.Select(stall => stall.IsSilent));
    }

    private static GroupStall Stall(string group, long sequence, string operation, double seconds, params int[] waitingFor) =>
        new(group, [], sequence, $"{operation} #{sequence}", seconds, waitingFor);

    private static RankReading Reading(int rank, GroupStall[] collectives) =>
        new(rank, "training", null, collectives, Start, Start + Timeout);
}
