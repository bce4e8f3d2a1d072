using Platform.Core.Parallelism;
using Platform.Torch.Collectives;
using Platform.Torch.Collectives.Loopback;
using Platform.Torch.Collectives.Nccl;
using Platform.Torch.Cuda;
using Platform.Torch.Parallel;
using Platform.Torch.Parallel.Layers;
using Platform.Torch.Parallel.Parameters;
using Platform.Torch.Tests.Parallelism;
using Platform.Torch.Tests.Reference;
using TorchSharp;
using Xunit;

namespace Platform.Torch.Tests.Cuda;

/// <summary>What only a machine with a GPU, a CUDA build of libtorch and NCCL can show; elsewhere each is skipped and says why.</summary>
[Trait("needs", "gpu")]
public sealed class GpuTests
{
    [Fact]
    public void A_step_on_the_device_gives_the_loss_and_the_gradients_of_the_CPU()
    {
        using var gpu = Open();
        var (expectedLoss, expected) = Step(TrainingTypes.Float32, null, null);
        var (loss, gradients) = Step(TrainingTypes.Float32, gpu.Place, gpu.Device);
        Assert.Equal(expectedLoss, loss, 1e-4);
        Assert.Equal(expected.Length, gradients.Length);
        for (var i = 0; i < gradients.Length; i++)
            Assert.Equal(expected[i], gradients[i], 1e-3);
    }

    [Fact]
    public void A_step_in_bf16_is_near_one_in_fp32()
    {
        using var gpu = Open();
        Assert.Equal(Step(TrainingTypes.Float32, gpu.Place, gpu.Device).Loss, Step(TrainingTypes.BFloat16, gpu.Place, gpu.Device).Loss, 0.05);
    }

    [Fact]
    public void Memory_that_a_tensor_takes_is_missing_from_the_device()
    {
        using var gpu = Open();
        var before = gpu.Device.Memory();
        using var large = torch.zeros([256L << 20], dtype: torch.ScalarType.Byte, device: gpu.Place);
        Assert.InRange(before.FreeBytes - gpu.Device.Memory().FreeBytes, 256L << 20, 512L << 20);
    }

    [Fact]
    public void NCCL_of_this_machine_gathers_what_one_rank_gives()
    {
        using var gpu = Open();
        var options = new CollectiveOptions();
        NcclLibrary library;
        try
        {
            library = NcclLibrary.OfMachine;
        }
        catch (NcclException missing)
        {
            Assert.Skip(missing.Message);
            throw;
        }

        using var world = new NcclWorld(LoopbackWorld.CreateAll(1, options)[0], gpu.Device, library, options, TimeProvider.System);
        using var group = world.CreateGroup("world", [0]);
        using var given = torch.arange(1000, dtype: torch.ScalarType.Float32, device: gpu.Place);
        using var taken = torch.zeros([1000], dtype: torch.ScalarType.Float32, device: gpu.Place);
        group.AllGather(GroupTensors.BufferOf(given), GroupTensors.BufferOf(taken));
        using var there = taken.cpu();
        Assert.Equal(Enumerable.Range(0, 1000).Select(i => (float)i), TensorMemory.Span<float>(there).ToArray());
    }

    private static Gpu Open()
    {
        try
        {
            var (device, place) = CudaBackend.Use(0);
            return new Gpu(device, place);
        }
        catch (CudaException missing)
        {
            Assert.Skip(missing.Message);
            throw;
        }
    }

    private static (double Loss, double[] Gradients) Step(TrainingTypes types, torch.Device? device, CudaDevice? gpu)
    {
        var (tokens, targets) = (TinyModel.Tokens(3, 4 * TinyModel.SequenceLength), TinyModel.Tokens(4, 4 * TinyModel.SequenceLength));
        using var world = LoopbackWorld.CreateAll(1)[0];
        var mesh = new DeviceMesh(1, 1, 1);
        using var groups = ParallelGroups.Create(world, mesh, TinyModel.Config.TieWordEmbeddings);
        using var store = new ParameterStore(
            StageLayout.Create(TinyModel.Config, mesh, groups.Coordinate, new LayoutSettings(TinyModel.SequenceLength, 1, false)),
            new ParameterStorage(types, Device: device));
        store.Initialise(7);
        using var exchange = new DataParallelExchange(groups, store);
        var chunks = ParallelStage.CreateAll(groups, store, TinyModel.SequenceLength, ActivationCheckpointing.None, exchange);
        exchange.BeginStep(1);
        using var staging = gpu is null ? null : new PinnedStaging(gpu);
        var loss = new PipelineRunner(groups, chunks, Core.Jobs.PipelineSchedule.OneForwardOneBackward, PipelineExchange.Buffered).Train(
            1, 4, _ => MicroBatch.Create(tokens, targets, 4, device, staging), 1.0 / tokens.Length);
        exchange.FinishGradients();
        foreach (var chunk in chunks)
            chunk.Dispose();
        return (loss / tokens.Length, [.. store.Units.SelectMany(unit =>
        {
            using var there = unit.GradientSum.cpu();
            return Compare.Values(there);
        })]);
    }

    private sealed record Gpu(CudaDevice Device, torch.Device Place) : IDisposable
    {
        public void Dispose() => Device.Dispose();
    }
}
