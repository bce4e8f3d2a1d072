using Platform.Core.Gangs;
using Platform.Core.Jobs;
using Platform.Torch.Collectives;
using Xunit;

namespace Platform.Worker.Engine.Tests;

/// <summary>The same job on every layout: each step's loss and gradient norm, and the final held-out loss.</summary>
public sealed class LossParityTests
{
    private const int Steps = 30;

    private static readonly ParallelismSpec Alone = new() { MicroBatchSize = 1 };

    private static readonly ParallelismSpec[] Layouts =
    [
        Alone with { Tensor = 2 }, Alone with { Pipeline = 2 }, Alone with { Data = 2 }, Alone with { Tensor = 2, Pipeline = 2, Data = 2 },
        Alone with { Pipeline = 4 }, Alone with { Tensor = 4 },
        Interleaved(Alone with { Pipeline = 2, MicroBatchSize = 2 }),
        Interleaved(Alone with { Tensor = 2, Pipeline = 2, Data = 2, SequenceParallel = true }),
        Alone with { Tensor = 4, SequenceParallel = true, MicroBatchSize = 2 },
        Alone with { Tensor = 2, Pipeline = 3, SequenceParallel = true },
    ];

    private static ParallelismSpec Interleaved(ParallelismSpec layout) =>
        layout with { Schedule = PipelineSchedule.Interleaved, VirtualStages = 2 };

    [Theory]
    [InlineData(Precision.Float32, 1e-5)]
    [InlineData(Precision.Float64, 1e-9)]
    public void Every_layout_trains_as_one_rank_does(Precision precision, double tolerance)
    {
        using var directory = new TemporaryDirectory();
        var text = directory.Write("text.txt", Gang.SomeText(4000));
        var alone = Train(directory.Path, text, Alone, precision, null);
        Assert.Equal(Steps, alone.Count);
        Assert.True(alone[^1].Loss < 0.8 * alone[0].Loss, $"The loss went from {alone[0].Loss} to {alone[^1].Loss} only.");
        foreach (var layout in Layouts)
        {
            var difference = Difference(alone, Train(directory.Path, text, layout, precision, null));
            TestContext.Current.TestOutputHelper?.WriteLine($"{precision} {layout}: {difference:e2}");
            Assert.True(difference <= tolerance, $"{layout} differs by {difference:e2}.");
        }
    }

    /// <summary>
    /// AdamW hardly notices a gradient that is too small everywhere; the comparison must see it all the same. Half of a data
    /// group's sum is what dividing by the width once too often would give.
    /// </summary>
    [Fact]
    public void A_gradient_divided_by_the_wrong_width_is_caught()
    {
        using var directory = new TemporaryDirectory();
        var text = directory.Write("text.txt", Gang.SomeText(4000));
        var alone = Train(directory.Path, text, Alone, Precision.Float64, null);

        var wrong = Train(directory.Path, text, Alone with { Data = 2 }, Precision.Float64, world => new ScalingWorld(world, "data group", 0.5));

        var losses = alone.Zip(wrong).Max(pair => Math.Abs(pair.First.Loss - pair.Second.Loss) / pair.First.Loss);
        Assert.True(losses > 1e-9, $"The losses alone differ by {losses:e2}.");
        Assert.True(Difference(alone, wrong) > 0.01);
    }

    private static List<StepMetrics> Train(
        string directory, string text, ParallelismSpec layout, Precision precision,
        Func<ICollectiveWorld, ICollectiveWorld>? decorate)
    {
        using var host = new RecordingHost();
        var artifacts = Path.Combine(directory, $"run-{Directory.GetDirectories(directory).Length}");
        var job = Gang.Job(text, layout.Tensor, layout.Pipeline, layout.Data, precision, Steps) with { Parallelism = layout };
        Gang.Run(job, artifacts, host, decorate: decorate);
        return [.. host.Points];
    }

    private static double Difference(List<StepMetrics> expected, List<StepMetrics> actual)
    {
        Assert.Equal(expected.Select(point => point.Step), actual.Select(point => point.Step));
        Assert.Equal(expected.Select(point => point.LearningRate), actual.Select(point => point.LearningRate));
        return expected.Zip(actual).Max(pair => Math.Max(
            Math.Max(Relative(pair.First.Loss, pair.Second.Loss), Relative(pair.First.EvalLoss ?? 1, pair.Second.EvalLoss ?? 1)),
            Relative(pair.First.GradNorm, pair.Second.GradNorm) / 10)); // a norm sums squares of differences
    }

    private static double Relative(double expected, double actual) => Math.Abs(expected - actual) / Math.Abs(expected);

    /// <summary>A world some of whose groups return a multiple of each sum.</summary>
    private sealed class ScalingWorld(ICollectiveWorld inner, string groupPrefix, double factor) : ICollectiveWorld
    {
        public int Rank => inner.Rank;

        public int Size => inner.Size;

        public string? AbortReason => inner.AbortReason;

        public CancellationToken Aborted => inner.Aborted;

        public ICollectiveGroup CreateGroup(string name, IReadOnlyList<int> members)
        {
            var group = inner.CreateGroup(name, members);
            return name.StartsWith(groupPrefix, StringComparison.Ordinal) ? new ScalingGroup(group, factor) : group;
        }

        public IReadOnlyList<CollectiveStatus> Status() => inner.Status();

        public void Abort(string reason) => inner.Abort(reason);

        public void Dispose() => inner.Dispose();
    }

    private sealed unsafe class ScalingGroup(ICollectiveGroup inner, double factor) : ICollectiveGroup
    {
        public string Name => inner.Name;

        public int Rank => inner.Rank;

        public int Size => inner.Size;

        public IReadOnlyList<int> Members => inner.Members;

        public long Sequence => inner.Sequence;

        public CollectiveStatus Status => inner.Status;

        public void AllReduce(CollectiveBuffer buffer, ReduceOperation operation)
        {
            inner.AllReduce(buffer, operation);
            Assert.Equal(CollectiveElement.Float64, buffer.Element);
            foreach (ref var value in new Span<double>((void*)buffer.Address, (int)buffer.Count))
                value *= factor;
        }

        public void ReduceScatter(CollectiveBuffer input, CollectiveBuffer output, ReduceOperation operation) => inner.ReduceScatter(input, output, operation);

        public void AllGather(CollectiveBuffer input, CollectiveBuffer output) => inner.AllGather(input, output);

        public void Broadcast(CollectiveBuffer buffer, int root) => inner.Broadcast(buffer, root);

        public void Barrier() => inner.Barrier();

        public void Send(CollectiveBuffer buffer, int peer) => inner.Send(buffer, peer);

        public void Receive(CollectiveBuffer buffer, int peer) => inner.Receive(buffer, peer);

        public void SendReceive(CollectiveBuffer send, int destination, CollectiveBuffer receive, int source) =>
            inner.SendReceive(send, destination, receive, source);

        public void Abort(string reason) => inner.Abort(reason);

        public void Dispose() => inner.Dispose();
    }
}
