using Platform.Core.Jobs;
using Platform.Torch.Parallel;
using Xunit;

namespace Platform.Torch.Tests.Parallelism;

public sealed class PipelineScheduleTests
{
    public static TheoryData<PipelineSchedule> Schedules => [PipelineSchedule.GPipe, PipelineSchedule.OneForwardOneBackward];

    private static IEnumerable<(int Stages, int MicroBatches)> Shapes() =>
        from stages in Enumerable.Range(1, 8) from microBatches in Enumerable.Range(1, 17) select (stages, microBatches);

    [Theory]
    [MemberData(nameof(Schedules))]
    public void Every_stage_takes_each_micro_batch_forward_once_and_backward_once_in_order(PipelineSchedule schedule)
    {
        foreach (var (stages, microBatches) in Shapes())
        {
            for (var stage = 0; stage < stages; stage++)
            {
                var actions = PipelineScheduleBuilder.Build(schedule, stage, stages, microBatches);
                foreach (var kind in Enum.GetValues<PipelineActionKind>())
                    Assert.Equal(Enumerable.Range(0, microBatches), actions.Where(a => a.Kind == kind).Select(a => a.MicroBatch));
                for (var i = 0; i < actions.Count; i++)
                {
                    if (actions[i].Kind == PipelineActionKind.Backward)
                        Assert.Contains(actions.Take(i), a => a == new PipelineAction(PipelineActionKind.Forward, actions[i].MicroBatch));
                }
            }
        }
    }

    [Fact]
    public void One_forward_one_backward_keeps_no_more_in_flight_than_stages_are_left()
    {
        foreach (var (stages, microBatches) in Shapes())
        {
            for (var stage = 0; stage < stages; stage++)
            {
                int inFlight = 0, most = 0;
                foreach (var action in PipelineScheduleBuilder.Build(PipelineSchedule.OneForwardOneBackward, stage, stages, microBatches))
                    most = Math.Max(most, inFlight += action.Kind == PipelineActionKind.Forward ? 1 : -1);
                Assert.Equal(Math.Min(microBatches, stages - stage), most);
                Assert.Equal(0, inFlight);
            }
        }
    }

    /// <summary>
    /// Plays the schedules of all stages against each other as the runner does it: receive, compute, send, with one message
    /// buffered per direction, which is what <c>ICollectiveGroup.Send</c> promises at least.
    /// </summary>
    [Theory]
    [MemberData(nameof(Schedules))]
    public void Stages_never_wait_for_each_other_in_a_circle(PipelineSchedule schedule)
    {
        foreach (var (stages, microBatches) in Shapes())
        {
            var programs = Enumerable.Range(0, stages).Select(stage => Messages(schedule, stage, stages, microBatches).ToList()).ToList();
            var next = new int[stages];
            var onTheWay = new Dictionary<(int From, int To), int>();
            bool moved;
            do
            {
                moved = false;
                for (var stage = 0; stage < stages; stage++)
                {
                    while (next[stage] < programs[stage].Count && TryStep(programs[stage][next[stage]], stage))
                    {
                        next[stage]++;
                        moved = true;
                    }
                }
            }
            while (moved);
            Assert.All(Enumerable.Range(0, stages), stage => Assert.True(
                next[stage] == programs[stage].Count, $"{schedule} of {stages} stages and {microBatches} micro-batches: stage {stage} is stuck."));

            bool TryStep((bool IsSend, int Peer) message, int stage)
            {
                var edge = message.IsSend ? (stage, message.Peer) : (message.Peer, stage);
                var waiting = onTheWay.GetValueOrDefault(edge);
                if (message.IsSend ? waiting == 1 : waiting == 0)
                    return false;
                onTheWay[edge] = waiting + (message.IsSend ? 1 : -1);
                return true;
            }
        }
    }

    private static IEnumerable<(bool IsSend, int Peer)> Messages(PipelineSchedule schedule, int stage, int stages, int microBatches)
    {
        foreach (var action in PipelineScheduleBuilder.Build(schedule, stage, stages, microBatches))
        {
            var (source, target) = action.Kind == PipelineActionKind.Forward ? (stage - 1, stage + 1) : (stage + 1, stage - 1);
            if (source >= 0 && source < stages)
                yield return (false, source);
            if (target >= 0 && target < stages)
                yield return (true, target);
        }
    }

    [Fact]
    public void Stages_get_consecutive_layers_that_differ_by_at_most_one_and_never_fewer_first()
    {
        for (var layers = 1; layers <= 20; layers++)
        {
            for (var stages = 1; stages <= layers; stages++)
            {
                var parts = Enumerable.Range(0, stages).Select(stage => LayerPartition.Of(layers, stages, stage)).ToList();
                Assert.Equal(Enumerable.Range(0, layers), parts.SelectMany(part => Enumerable.Range(part.First, part.Count)));
                Assert.True(parts.Max(part => part.Count) - parts.Min(part => part.Count) <= 1);
                Assert.Equal(parts.Select(part => part.Count).OrderDescending(), parts.Select(part => part.Count));
            }
        }

        Assert.Throws<ArgumentException>(() => LayerPartition.Of(2, 3, 0));
    }
}
