using Platform.Core.Gangs;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Gangs;
using Xunit;

namespace Platform.Scheduling.Tests.Gangs;

/// <summary>The failure of a gang that hung, put together from what the agents of all its nodes knew.</summary>
public sealed class HangAttributionTests
{
    private static readonly GangTimeouts Timeouts = new();
    private GangState gang = Given.Gang("jobs/a", Given.Shape(tensor: 2, data: 2));

    // Ranks 0 and 1 on n0, 2 and 3 on n1; rank 3's process was stopped before data group 1's all-reduce #42.
    private static readonly RankStall[] OnFirst =
    [
        Stall(0, [new("tensor group 0", [0, 1], 90, "all-reduce #90", 12, [1])]),
        Stall(1, [new("tensor group 0", [0, 1], 89, "all-reduce #89", 0, []), new("data group 1", [1, 3], 42, "all-reduce #42", 12, [3])]),
    ];

    private static readonly RankStall[] OnSecond =
    [
        Stall(2, [new("tensor group 1", [2, 3], 90, "all-reduce #90", 12, [3])]),
        Stall(3, [new("tensor group 1", [2, 3], 89, "all-reduce #89", 0, []), new("data group 1", [1, 3], 41, "all-reduce #41", 0, [])]) with { SilentSeconds = 12, IsSilent = true },
    ];

    [Theory]
    [InlineData("n0", "n1")]
    [InlineData("n1", "n0")]
    public void Names_the_rank_on_the_other_node_whichever_agent_noticed_first(string first, string second)
    {
        Run();
        Report(first, MemberPhase.Failed, Given.Failure(FailureCode.RankHung, node: first));
        Report(first, MemberPhase.Released, stalls: first == "n0" ? OnFirst : OnSecond);
        Report(second, MemberPhase.Released, stalls: second == "n0" ? OnFirst : OnSecond);

        var failure = gang.PastFailures[0].Failure;
        Assert.Equal((FailureCode.RankHung, (int?)3, "n1"), (failure.Code, failure.Rank, failure.Node));
        Assert.StartsWith("Rank 3 on n1 has not entered all-reduce #42 of data group 1; it has not reported for 12 s", failure.Message, StringComparison.Ordinal);
        Assert.Contains("Rank 1 waited in all-reduce #42 of data group 1 for rank 3 for 12 s.", failure.Message, StringComparison.Ordinal);
        Assert.Contains("Rank 0 waited in all-reduce #90 of tensor group 0 for rank 1 for 12 s.", failure.Message, StringComparison.Ordinal);
        Assert.Contains("Rank 2 waited in all-reduce #90 of tensor group 1 for rank 3 for 12 s.", failure.Message, StringComparison.Ordinal);
        Assert.Equal(["n1"], gang.AvoidNodes);
    }

    [Fact]
    public void Blames_a_rank_that_is_known_only_through_those_that_wait_for_it_when_its_node_is_lost_too()
    {
        Run();
        Report("n0", MemberPhase.Failed, Given.Failure(FailureCode.RankHung, node: "n0"));
        Report("n0", MemberPhase.Released, stalls: OnFirst);
        Report("n1", MemberPhase.Released);

        var failure = gang.PastFailures[0].Failure;
        Assert.Equal(3, failure.Rank);
        Assert.StartsWith("Rank 3 has not entered all-reduce #42 of data group 1; nothing more is known of it.", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Says_that_ranks_wait_for_each_other_when_none_waits_for_nobody()
    {
        var diagnosis = HangDiagnosis.Of(
        [
            ("n0", Stall(0, [new("a", [0, 1], 2, "all-reduce #2", 9, [1]), new("b", [0, 1], 4, "barrier #4", 0, [])])),
            ("n0", Stall(1, [new("a", [0, 1], 1, "all-reduce #1", 0, []), new("b", [0, 1], 5, "barrier #5", 9, [0])])),
        ]);

        Assert.Null(diagnosis?.Rank);
        Assert.StartsWith("No rank is found that waits for none", diagnosis?.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_rank_that_died_in_the_middle_of_a_collective_has_not_finished_it()
    {
        var diagnosis = HangDiagnosis.Of(
        [
            ("n0", Stall(0, [new("world", [0, 1], 7, "all-reduce #7", 9, [])])),
            ("n1", Stall(1, [new("world", [0, 1], 7, "all-reduce #7", 0.2, [])]) with { SilentSeconds = 9, IsSilent = true }),
        ]);

        Assert.StartsWith("Rank 1 on n1 has not finished all-reduce #7 of world", diagnosis?.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_gang_of_thousands_gives_a_message_that_can_be_read()
    {
        var ranks = Enumerable.Range(0, 4096).Select(rank => (
            $"n{rank / 8}", Stall(rank, [new($"tensor group {rank / 8}", [], 5, "all-reduce #5", rank / 8 == 3 ? 0 : 60, [])]))).ToList();

        Assert.InRange(HangDiagnosis.Of(ranks)!.Message.Length, 100, 2000);
    }

    private static RankStall Stall(int rank, GroupStall[] groups) => new(rank, "training", 0.3, IsSilent: false, groups);

    private void Run()
    {
        Apply(new GangEvent.Placed(
            new GangPlacement("jobs/a", [
                new MemberPlacement("n0", [new RankPlacement(0, [0], 1000), new RankPlacement(1, [1], 1000)]),
                new MemberPlacement("n1", [new RankPlacement(2, [0], 1000), new RankPlacement(3, [1], 1000)])]),
            "token", null));
        foreach (var phase in new[] { MemberPhase.Prepared, MemberPhase.Running })
        {
            Report("n0", phase);
            Report("n1", phase);
        }
    }

    private void Report(string node, MemberPhase phase, GangFailure? failure = null, RankStall[]? stalls = null) =>
        Apply(new GangEvent.MemberReported(Given.Report(gang, node, phase, failure) with { Stalls = stalls ?? [] }));

    private void Apply(GangEvent happened) => (gang, _) = GangCoordinator.Apply(gang, happened, Given.Noon, Timeouts);
}
