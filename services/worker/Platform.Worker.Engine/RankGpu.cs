using Platform.Torch.Collectives;
using Platform.Torch.Collectives.Nccl;
using Platform.Torch.Cuda;
using TorchSharp;

namespace Platform.Worker.Engine;

/// <summary>The GPU of a rank: the first one its process sees, since the agent shows each rank its own and no other.</summary>
internal sealed class RankGpu : IDisposable
{
    private readonly CudaDevice _device;

    private RankGpu(CudaDevice device, torch.Device place) => (_device, Place, Staging) = (device, place, new PinnedStaging(device));

    /// <summary>The device as libtorch names it.</summary>
    public torch.Device Place { get; }

    /// <summary>Brings batches to the device.</summary>
    public PinnedStaging Staging { get; }

    /// <summary>Opens it.</summary>
    /// <exception cref="CudaException">It cannot be used; the message says why.</exception>
    public static RankGpu Open()
    {
        var (device, place) = CudaBackend.Use(0);
        return new RankGpu(device, place);
    }

    /// <summary>A world whose groups move this device's memory by NCCL.</summary>
    /// <param name="host">World of the same ranks in host memory; owned by the result, and disposed here if there is none.</param>
    /// <param name="options">Settings.</param>
    /// <exception cref="NcclException">NCCL is not on this machine.</exception>
    public ICollectiveWorld Over(ICollectiveWorld host, CollectiveOptions options)
    {
        try
        {
            return NcclWorld.Create(host, _device, options);
        }
        catch
        {
            host.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Staging.Dispose();
        _device.Dispose();
    }
}
