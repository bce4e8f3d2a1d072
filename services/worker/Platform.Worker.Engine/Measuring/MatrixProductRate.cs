using System.Diagnostics;
using TorchSharp;

namespace Platform.Worker.Engine.Measuring;

/// <summary>What a CPU device can do: the rate of a matrix product that fits its caches.</summary>
public static class MatrixProductRate
{
    private const int Side = 512;

    /// <summary>Multiplies square matrices for a while on the calling thread's share of the machine.</summary>
    /// <param name="type">Type of the elements.</param>
    /// <param name="budget">How long.</param>
    /// <returns>FLOP/s, other users of the processors included: what the rank gets while all multiply.</returns>
    public static double Measure(torch.ScalarType type, TimeSpan budget)
    {
        using var withoutGradients = torch.no_grad();
        using var left = torch.ones([Side, Side], dtype: type);
        using var right = torch.ones([Side, Side], dtype: type);
        left.mm(right).Dispose();
        var begun = Stopwatch.GetTimestamp();
        var products = 0;
        do
        {
            left.mm(right).Dispose();
            products++;
        }
        while (Stopwatch.GetElapsedTime(begun) < budget);
        return 2.0 * Side * Side * Side * products / Stopwatch.GetElapsedTime(begun).TotalSeconds;
    }
}
