using Platform.Torch.Native;
using TorchSharp;

namespace Platform.Torch.Cuda;

/// <summary>Lets libtorch compute on a CUDA device of this process.</summary>
public static class CudaBackend
{
    /// <summary>Opens a device and prepares libtorch for it. Tensors on it belong to the calling process alone.</summary>
    /// <param name="ordinal">Index among the devices this process sees.</param>
    /// <returns>The device as the driver has it, which the caller disposes last, and as libtorch names it.</returns>
    /// <exception cref="CudaException">There is no driver, no such device, or libtorch was loaded without its CUDA part.</exception>
    public static (CudaDevice Device, torch.Device Place) Use(int ordinal)
    {
        var runtime = NativeRuntime.EnsureLoaded();
        var device = CudaDevice.Open(ordinal);
        try
        {
            if (!runtime.HasCuda)
                throw new CudaException(
                    $"The libtorch in {runtime.Directories.Libtorch} computes on CPUs only; name the directory of a CUDA build of the same version in {NativeDirectories.EnvironmentVariable}.");
            if (!torch.TryInitializeDeviceType(DeviceType.CUDA))
                throw new CudaException($"libtorch finds no CUDA device, although the driver has {device.Name}; its CUDA version may be newer than the driver.");
            device.MakeCurrent();
            return (device, new torch.Device(DeviceType.CUDA, ordinal));
        }
        catch
        {
            device.Dispose();
            throw;
        }
    }
}
