using System.Diagnostics;
using TorchSharp;

namespace Platform.Worker.Engine.Measuring;

/// <summary>What a device can do: the rate of a matrix product, on a CPU of one that fits its caches, on a GPU of one that fills it.</summary>
public static class MatrixProductRate
{
    private const int CpuSide = 512;
    private const int GpuSide = 8192;

    /// <summary>Multiplies square matrices for a while, on a CPU with the calling thread's share of the machine.</summary>
    /// <param name="type">Type of the elements.</param>
    /// <param name="budget">How long.</param>
    /// <param name="device">Where; null for the CPU.</param>
    /// <returns>FLOP/s, other users of the processors included: what the rank gets while all multiply.</returns>
    public static double Measure(torch.ScalarType type, TimeSpan budget, torch.Device? device)
    {
        using var withoutGradients = torch.no_grad();
        var (where, isGpu) = (device ?? torch.CPU, device is { type: DeviceType.CUDA });
        long side = isGpu ? GpuSide : CpuSide;
        using var left = torch.ones([side, side], dtype: type, device: where);
        using var right = torch.ones([side, side], dtype: type, device: where);
        left.mm(right).Dispose();
        Wait();
        var begun = Stopwatch.GetTimestamp();
        var products = 0;
        do
        {
            left.mm(right).Dispose();
            Wait();
            products++;
        }
        while (Stopwatch.GetElapsedTime(begun) < budget);
        return 2.0 * side * side * side * products / Stopwatch.GetElapsedTime(begun).TotalSeconds;

        void Wait()
        {
            if (isGpu)
                torch.cuda.synchronize(where);
        }
    }
}
