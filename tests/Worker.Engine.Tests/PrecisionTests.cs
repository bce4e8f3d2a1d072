using System.Collections.Concurrent;
using Platform.Core.Jobs;
using Platform.Formats.Checkpoints;
using Platform.Formats.Safetensors;
using Platform.Torch.Collectives;
using Xunit;

namespace Platform.Worker.Engine.Tests;

/// <summary>In which number formats masters are kept and sums are formed.</summary>
public sealed class PrecisionTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(3)]
    public void Bf16_training_keeps_masters_and_moments_and_reduces_gradients_in_single_precision(int zero)
    {
        var seen = Train(Precision.BFloat16, zero, out var saved);

        Assert.All(seen.Where(use => use.Group.StartsWith("data", StringComparison.Ordinal) && use.IsReduction), use => Assert.Equal(CollectiveElement.Float32, use.Element));
        if (zero > 0)
            Assert.All(seen.Where(use => use.Group.StartsWith("data", StringComparison.Ordinal) && !use.IsReduction), use => Assert.Equal(CollectiveElement.BFloat16, use.Element));
        Assert.Contains(seen, use => use.Group.StartsWith("tensor", StringComparison.Ordinal) && use.Element == CollectiveElement.BFloat16);
        Assert.All(seen.Where(use => use.Group == "world" && use.IsReduction), use => Assert.NotEqual(CollectiveElement.BFloat16, use.Element));
        Assert.All(saved, type => Assert.Equal(TensorDataType.F32, type));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    public void Strict_single_precision_has_no_smaller_format_anywhere(int zero)
    {
        var seen = Train(Precision.Float32, zero, out var saved);

        Assert.DoesNotContain(seen, use => use.Element == CollectiveElement.BFloat16);
        Assert.All(saved, type => Assert.Equal(TensorDataType.F32, type));
    }

    /// <summary>Updates far below the spacing of bf16 add up in the masters.</summary>
    [Fact]
    public void Masters_gather_updates_that_bf16_weights_would_lose()
    {
        using var directory = new TemporaryDirectory();
        var job = Gang.Job(directory.Write("text.txt", Gang.SomeText(2000)), 1, 1, 1, Precision.BFloat16, steps: 3);
        job = job with { Optimizer = new OptimizerSpec { Lr = 1e-6, MinLr = 1e-6, WeightDecay = 0 }, Checkpoint = new CheckpointSpec { EverySteps = 1, Keep = 10 } };
        using var host = new RecordingHost();
        Gang.Run(job, Path.Combine(directory.Path, "artifacts"), host);

        var norms = host.Checkpoints.Select(checkpoint =>
        {
            using var reader = CheckpointReader.Open(Path.Combine(directory.Path, "artifacts", checkpoint.Directory), CheckpointVerification.Structure);
            var bytes = new byte[32 * sizeof(float)];
            reader.ReadSlice("model.norm.weight", [0], [32], bytes);
            return Enumerable.Range(0, 32).Select(i => BitConverter.ToSingle(bytes, i * sizeof(float))).ToArray();
        }).ToList();

        // Weights of 1 are 2⁻⁷ apart in bf16; the masters move by about the learning rate each step.
        Assert.All(norms[2], weight => Assert.InRange(Math.Abs(weight - 1), 0, 5e-6));
        Assert.InRange(norms[0].Zip(norms[2]).Count(pair => Math.Abs(pair.First - pair.Second) > 5e-7), 16, 32);
    }

    private static List<Use> Train(Precision precision, int zero, out List<TensorDataType> saved)
    {
        using var directory = new TemporaryDirectory();
        var job = Gang.Job(directory.Write("text.txt", Gang.SomeText(2000)), 2, 1, 2, precision, steps: 2);
        job = job with { Parallelism = job.Parallelism with { ZeroStage = zero } };
        var seen = new ConcurrentQueue<Use>();
        using var host = new RecordingHost();
        Gang.Run(job, Path.Combine(directory.Path, "artifacts"), host, decorate: world => new WatchedWorld(world, seen));
        var manifest = CheckpointManifest.Read(Path.Combine(directory.Path, "artifacts", host.Checkpoints.Last().Directory));
        saved = [.. manifest.Tensors.Values.Select(tensor => tensor.DataType)];
        Assert.NotEmpty(saved);
        return [.. seen];
    }

    private sealed record Use(string Group, bool IsReduction, CollectiveElement Element);

    private sealed class WatchedWorld(ICollectiveWorld inner, ConcurrentQueue<Use> seen) : ICollectiveWorld
    {
        public int Rank => inner.Rank;

        public int Size => inner.Size;

        public string? AbortReason => inner.AbortReason;

        public CancellationToken Aborted => inner.Aborted;

        public ICollectiveGroup CreateGroup(string name, IReadOnlyList<int> members) => new WatchedGroup(inner.CreateGroup(name, members), seen);

        public IReadOnlyList<CollectiveStatus> Status() => inner.Status();

        public void Abort(string reason) => inner.Abort(reason);

        public void Dispose() => inner.Dispose();
    }

    private sealed class WatchedGroup(ICollectiveGroup inner, ConcurrentQueue<Use> seen) : ICollectiveGroup
    {
        public string Name => inner.Name;

        public int Rank => inner.Rank;

        public int Size => inner.Size;

        public IReadOnlyList<int> Members => inner.Members;

        public long Sequence => inner.Sequence;

        public CollectiveStatus Status => inner.Status;

        public void AllReduce(CollectiveBuffer buffer, ReduceOperation operation)
        {
            seen.Enqueue(new(Name, true, buffer.Element));
            inner.AllReduce(buffer, operation);
        }

        public void ReduceScatter(CollectiveBuffer input, CollectiveBuffer output, ReduceOperation operation)
        {
            seen.Enqueue(new(Name, true, input.Element));
            inner.ReduceScatter(input, output, operation);
        }

        public void AllGather(CollectiveBuffer input, CollectiveBuffer output)
        {
            seen.Enqueue(new(Name, false, input.Element));
            inner.AllGather(input, output);
        }

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
