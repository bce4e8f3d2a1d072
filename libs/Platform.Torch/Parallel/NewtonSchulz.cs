using TorchSharp;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Parallel;

/// <summary>Approximate orthogonalisation of a matrix.</summary>
public static class NewtonSchulz
{
    // Coefficients of Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks": they drive singular values
    // to between about 0.7 and 1.2 in few iterations, and need not converge to 1.
    private const double A = 3.4445;
    private const double B = -4.7750;
    private const double C = 2.0315;
    private const double Epsilon = 1e-7;

    /// <summary>
    /// U·S·Vᵀ with all singular values near 1, where U and V are the matrix's own:
    /// <c>X ← a·X + (b·X·Xᵀ + c·(X·Xᵀ)²)·X</c>, from the matrix over its Frobenius norm.
    /// </summary>
    /// <param name="matrix">Any matrix, not changed.</param>
    /// <param name="iterations">Number of iterations; 5 are usual.</param>
    /// <returns>A matrix of the same shape and type.</returns>
    public static Tensor Orthogonalise(Tensor matrix, int iterations)
    {
        ArgumentNullException.ThrowIfNull(matrix);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(iterations);
        using var withoutGradients = torch.no_grad();
        using var scope = torch.NewDisposeScope();
        var isTall = matrix.shape[0] > matrix.shape[1];
        var x = isTall ? matrix.t().contiguous() : matrix.clone();
        x.div_(x.norm().AddInPlace(Epsilon));
        for (var i = 0; i < iterations; i++)
        {
            // The matrix before goes with each iteration: only two are there at a time.
            using var inner = torch.NewDisposeScope();
            var square = x.mm(x.t());
            var polynomial = square.mm(square).MultiplyInPlace(C).AddInPlace(square, B);
            var next = polynomial.mm(x).AddInPlace(x, A).MoveToOuterDisposeScope();
            x.Dispose();
            x = next;
        }

        return (isTall ? x.t().contiguous() : x).MoveToOuterDisposeScope();
    }
}
