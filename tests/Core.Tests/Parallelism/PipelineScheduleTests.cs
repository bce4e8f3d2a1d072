using Platform.Core.Jobs;
using Platform.Core.Parallelism;
using Xunit;

namespace Platform.Core.Tests.Parallelism;

/// <summary>Every pipeline of up to 8 stages, 32 micro-batches and 4 virtual stages.</summary>
public sealed class PipelineScheduleTests
{
    public static TheoryData<PipelineSchedule> Schedules =>
        [PipelineSchedule.GPipe, PipelineSchedule.OneForwardOneBackward, PipelineSchedule.Interleaved];

    [Theory]
    [MemberData(nameof(Schedules))]
    public void Every_stage_takes_each_micro_batch_through_each_chunk_forward_once_and_then_backward_once(PipelineSchedule schedule)
    {
        foreach (var (shape, stage) in Stages(schedule))
        {
            var actions = PipelineSchedules.Build(schedule, shape, stage);
            var forward = new HashSet<(int, int)>();
            var backward = new HashSet<(int, int)>();
            foreach (var action in actions)
            {
                var key = (action.MicroBatch, action.Chunk);
                Assert.InRange(action.MicroBatch, 0, shape.MicroBatches - 1);
                Assert.InRange(action.Chunk, 0, shape.VirtualStages - 1);
                Assert.True(action.Kind == PipelineActionKind.Forward ? forward.Add(key) : forward.Contains(key) && backward.Add(key), $"{shape}, stage {stage}: {action}");
            }

            Assert.Equal(shape.ForwardsPerStage, forward.Count);
            Assert.Equal(shape.ForwardsPerStage, backward.Count);
        }
    }

    [Theory]
    [MemberData(nameof(Schedules))]
    public void No_stage_keeps_more_in_flight_than_the_bound(PipelineSchedule schedule)
    {
        foreach (var (shape, stage) in Stages(schedule))
        {
            int inFlight = 0, most = 0;
            foreach (var action in PipelineSchedules.Build(schedule, shape, stage))
                most = Math.Max(most, inFlight += action.Kind == PipelineActionKind.Forward ? 1 : -1);
            Assert.Equal(0, inFlight);
            Assert.Equal(PipelineSchedules.MostInFlight(schedule, shape, stage), most);
            var bound = (schedule, shape.VirtualStages) switch
            {
                (PipelineSchedule.GPipe, _) => shape.MicroBatches,
                (_, 1) => Math.Min(shape.MicroBatches, shape.Stages - stage),
                _ => Math.Min(shape.ForwardsPerStage, (shape.Stages * shape.VirtualStages) + shape.Stages - 1 - (2 * stage)),
            };
            Assert.Equal(bound, most);
        }
    }

    [Theory]
    [MemberData(nameof(Schedules))]
    public void With_equal_stages_the_bubble_is_that_of_the_formula(PipelineSchedule schedule)
    {
        foreach (var shape in Shapes(schedule))
        {
            foreach (var (forward, backward) in new[] { (1, 1), (1, 2), (3, 2) })
            {
                long busy = (long)shape.ForwardsPerStage * (forward + backward);
                var length = PipelineTimeline.Play(schedule, shape, forward, backward).Length;
                Assert.Equal((double)(shape.Stages - 1) / (shape.VirtualStages * shape.MicroBatches), (double)(length - busy) / busy, 12);
                Assert.Equal(PipelineSchedules.Bubble(shape), (double)(length - busy) / busy, 12);
            }
        }
    }

    [Theory]
    [MemberData(nameof(Schedules))]
    public void Paired_exchanges_never_wait_in_a_circle(PipelineSchedule schedule)
    {
        foreach (var shape in Shapes(schedule))
            new PipelineProgramPlayer(shape, Programs(schedule, shape, PipelineExchange.Paired)).PlayPaired();
    }

    [Theory]
    [MemberData(nameof(Schedules))]
    public void One_buffered_send_per_edge_is_enough_never_to_wait_in_a_circle(PipelineSchedule schedule)
    {
        foreach (var shape in Shapes(schedule))
        {
            new PipelineProgramPlayer(shape, Programs(schedule, shape, PipelineExchange.Buffered)).PlayBuffered(1);
            new PipelineProgramPlayer(shape, Programs(schedule, shape, PipelineExchange.Paired)).PlayBuffered(1);
        }
    }

    [Theory]
    [MemberData(nameof(Schedules))]
    public void With_room_for_what_is_in_flight_no_send_waits_for_the_receiver(PipelineSchedule schedule)
    {
        foreach (var shape in Shapes(schedule))
        {
            var player = new PipelineProgramPlayer(shape, Programs(schedule, shape, PipelineExchange.Buffered));
            player.PlayBuffered(int.MaxValue);
            Assert.InRange(player.MostUnderWay, 0, 2 * PipelineSchedules.MostInFlight(schedule, shape, 0));
        }
    }

    [Fact]
    public void The_interleaved_schedule_refuses_micro_batches_that_are_no_multiple_of_the_stages()
    {
        var refused = Assert.Throws<ArgumentException>(() => PipelineSchedules.Build(PipelineSchedule.Interleaved, new(4, 6, 2), 0));

        Assert.Contains("needs a multiple of 4 micro-batches, one for each stage; 6 are given", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Only_the_interleaved_schedule_has_virtual_stages() =>
        Assert.Throws<ArgumentException>(() => PipelineSchedules.Build(PipelineSchedule.OneForwardOneBackward, new(2, 4, 2), 0));

    /// <summary>Figure 4 of Narayanan et al. 2021, lower half: four stages, eight micro-batches, two chunks.</summary>
    [Fact]
    public void The_interleaved_schedule_is_the_published_one()
    {
        var text = string.Join(' ', PipelineSchedules.Build(PipelineSchedule.Interleaved, new(4, 8, 2), 3).Take(14).Select(
            action => $"{(action.Kind == PipelineActionKind.Forward ? "F" : "B")}{action.MicroBatch + 1}{(action.Chunk == 0 ? "a" : "b")}"));

        Assert.Equal("F1a F2a F3a F4a F1b B1b F2b B2b F3b B3b F4b B4b F5a B1a", text);
    }

    private static IEnumerable<PipelineShape> Shapes(PipelineSchedule schedule) =>
        from stages in Enumerable.Range(1, 8)
        from microBatches in Enumerable.Range(1, 32)
        from virtualStages in Enumerable.Range(1, schedule == PipelineSchedule.Interleaved ? 4 : 1)
        where schedule != PipelineSchedule.Interleaved || microBatches % stages == 0
        select new PipelineShape(stages, microBatches, virtualStages);

    private static IEnumerable<(PipelineShape Shape, int Stage)> Stages(PipelineSchedule schedule) =>
        Shapes(schedule).SelectMany(shape => Enumerable.Range(0, shape.Stages).Select(stage => (shape, stage)));

    private static List<IReadOnlyList<PipelineStep>> Programs(PipelineSchedule schedule, PipelineShape shape, PipelineExchange exchange) =>
        [.. Enumerable.Range(0, shape.Stages).Select(stage => PipelinePrograms.Build(schedule, shape, stage, exchange))];
}
