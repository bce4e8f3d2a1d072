using Platform.Core.Gangs;
using Platform.Torch.Collectives;
using Platform.Torch.Collectives.Loopback;
using Platform.Torch.Tests.Collectives;
using Platform.Torch.Timelines;
using Xunit;

namespace Platform.Torch.Tests.Timelines;

public sealed class StepRecorderTests
{
    [Fact]
    public void Counts_a_span_without_the_spans_inside_it_and_the_rest_as_other()
    {
        var time = new ManualTime();
        var recorder = new StepRecorder(2, time);
        recorder.BeginStep(1);
        time.Advance(1);
        using (recorder.Begin(StepPart.Compute, "forward", 3))
        {
            time.Advance(2);
            using (recorder.Begin(StepPart.Bubble, "recv"))
                time.Advance(5);
            time.Advance(1);
        }

        using (recorder.Begin(StepPart.Optimizer, "update"))
            time.Advance(4);
        var seconds = new double[StepParts.Count];
        recorder.TakePeriod(seconds);

        var parts = StepParts.Of(seconds, 1);
        Assert.Equal(new StepParts(3, 0, 5, 0, 4, 0, 1), parts);
        Assert.Equal(13, parts.Total);
        Assert.Equal(
            [("recv", 3, 5L), ("forward", 3, 8L), ("update", null, 4L)],
            recorder.Events().Select(each => (each.Name, each.MicroBatch, each.Duration)));
        recorder.TakePeriod(seconds);
        Assert.All(seconds, each => Assert.Equal(0, each));
    }

    [Fact]
    public void Keeps_the_last_steps_only()
    {
        var recorder = new StepRecorder(3, new ManualTime());
        for (var step = 1; step <= 7; step++)
        {
            recorder.BeginStep(step);
            recorder.Begin(StepPart.Compute, "forward").Dispose();
        }

        Assert.Equal([5, 6, 7], recorder.Events().Select(each => each.Step));
    }

    [Fact]
    public void Shows_other_threads_on_lanes_of_their_own_and_counts_them_for_nothing()
    {
        var recorder = new StepRecorder(1, new ManualTime());
        using (recorder.Begin(StepPart.Compute, "backward"))
        {
            var hidden = new Thread(() => recorder.Begin(StepPart.Communication, "all-reduce").Dispose());
            hidden.Start();
            hidden.Join();
        }

        Assert.Equal([("all-reduce", 1), ("backward", 0)], recorder.Events().Select(each => (each.Name, each.Lane)));
    }

    [Fact]
    public void Tells_waiting_for_a_stage_from_waiting_for_a_collective()
    {
        var worlds = LoopbackWorld.CreateAll(2);
        var events = new IReadOnlyList<TimelineEvent>[2];
        var sent = new long[2];
        RankThreads.Run(worlds, whole =>
        {
            var rank = whole.Rank;
            var recorder = new StepRecorder(1);
            using var world = new RecordingWorld(whole, recorder);
            using var stages = world.CreateGroup("pipeline group 0", [0, 1]);
            using var tensor = world.CreateGroup("tensor group 0", [0, 1]);
            using var all = world.CreateGroup("world", [0, 1]);
            Exchange(stages, rank, tensor, all);
            (events[rank], sent[rank]) = (recorder.Events(), recorder.SentBytes);
        });

        Assert.Equal(
            [("send", StepPart.Communication), ("all-reduce tensor group 0", StepPart.Communication), ("barrier world", StepPart.Bubble)],
            events[0].Select(each => (each.Name, each.Part)));
        Assert.Equal(("recv", StepPart.Bubble), (events[1][0].Name, events[1][0].Part));

        // A ring all-reduce over two ranks sends the buffer's bytes once: 2·(n − 1)/n.
        Assert.Equal([64, 32], sent);
    }

    private static unsafe void Exchange(ICollectiveGroup stages, int rank, ICollectiveGroup tensor, ICollectiveGroup all)
    {
        var values = stackalloc double[4];
        var buffer = new CollectiveBuffer((nint)values, 4, CollectiveElement.Float64);
        if (rank == 0)
            stages.Send(buffer, 1);
        else
            stages.Receive(buffer, 0);
        tensor.AllReduce(buffer, ReduceOperation.Sum);
        all.Barrier();
    }

    private sealed class ManualTime : TimeProvider
    {
        private long _now;

        public override long TimestampFrequency => 1;

        public override long GetTimestamp() => _now;

        public void Advance(long seconds) => _now += seconds;
    }
}
