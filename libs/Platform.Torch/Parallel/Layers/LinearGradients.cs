using Platform.Torch.Kernels;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Parallel.Layers;

/// <summary>Sums of gradients of linear layers, kept in the master type.</summary>
internal static class LinearGradients
{
    /// <summary><c>sum += gradientᵀ · x</c>.</summary>
    public static void AddWeight(Tensor sum_OI, Tensor gradient_NO, Tensor x_NI)
    {
        using var transposed = gradient_NO.t();
        if (sum_OI.dtype == x_NI.dtype)
        {
            sum_OI.addmm_(transposed, x_NI, 1, 1);
            return;
        }

        using var product = transposed.mm(x_NI);
        if (WideningSum.Supports(sum_OI, product))
            WideningSum.Add(sum_OI, product);
        else
            sum_OI.AddInPlace(product);
    }

    /// <summary>Adds the column sums, formed in the master type.</summary>
    public static void AddBias(Tensor sum_O, Tensor gradient_NO)
    {
        using var columns = gradient_NO.sum(0, type: sum_O.dtype);
        sum_O.AddInPlace(columns);
    }
}
