using Platform.Core.Jobs;
using Platform.Torch.Timelines;
using TorchSharp;
using Xunit;

namespace Platform.Worker.Engine.Tests;

/// <summary>Counts what the whole process holds, so nothing else runs beside it.</summary>
[CollectionDefinition(nameof(FlatMemoryTests), DisableParallelization = true)]
public sealed class FlatMemoryCollection;

[Collection(nameof(FlatMemoryTests))]
public sealed class FlatMemoryTests
{
    private const int Steps = 480;
    private const int Window = 40;

    [Theory]
    [InlineData(1, 0, "adamw")]
    [InlineData(2, 1, "muon")]
    [InlineData(2, 3, "adamw")]
    public void Hundreds_of_steps_leave_no_tensor_and_no_memory_behind(int data, int zero, string optimizer)
    {
        using var directory = new TemporaryDirectory();
        var job = Gang.Job(directory.Write("text.txt", Gang.SomeText(3000)), 1, 1, data, Precision.BFloat16, Steps);
        job = job with
        {
            Model = job.Model with { NumHiddenLayers = 2 },
            Parallelism = job.Parallelism with { ZeroStage = zero },
            Training = job.Training with { GlobalBatchSize = 2, ActivationCheckpointing = "selective" },
            Optimizer = job.Optimizer with { Name = optimizer, Muon = optimizer == "muon" ? new MuonSpec() : null },
        };
        using var memory = LiveTensorMemory.Start(interval: null);
        List<(long Tensors, long Bytes)> seen = [];
        using var host = new RecordingHost { OnPoint = _ => seen.Add((torch.Tensor.TotalCount, memory?.Sample() ?? 0)) };

        Gang.Run(job, Path.Combine(directory.Path, "artifacts"), host);

        // Other ranks are in the midst of a step when this one is at its end: the least of many samples is what is kept, and what
        // is left of the difference, up to a step's tensors of a rank, is far below one tensor per step.
        var (early, late) = (seen.Skip(Window).Take(Window).ToList(), seen.TakeLast(Window).ToList());
        var (tensors, bytes) = (late.Min(s => s.Tensors) - early.Min(s => s.Tensors), late.Min(s => s.Bytes) - early.Min(s => s.Bytes));
        TestContext.Current.TestOutputHelper?.WriteLine($"{tensors} tensors and {bytes} bytes more than {Steps - (2 * Window)} steps before");
        Assert.InRange(tensors, -1000, 300); // one left behind per step would be 400 more
        Assert.InRange(bytes, long.MinValue, 16 << 20); // the heap is the runtime's too
    }
}
