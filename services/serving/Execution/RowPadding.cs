using ScalarType = TorchSharp.torch.ScalarType;

namespace Platform.Serving.Execution;

/// <summary>
/// How many rows a matrix product gets for the rows that are needed. libtorch picks kernels by the number of rows, and some
/// of them add in another order; with these numbers a row's bits do not depend on how many others there are.
/// </summary>
/// <param name="Minimum">Fewest rows.</param>
/// <param name="Multiple">Rows are padded to a multiple of this.</param>
/// <param name="Fixed">Every product has exactly <see cref="Multiple"/> rows, several products being made where more are needed.</param>
internal readonly record struct RowPadding(int Minimum, int Multiple, bool Fixed)
{
    /// <summary>The cheapest padding found sufficient: fp32 in multiples of 8, bf16 at least 2.</summary>
    public static RowPadding For(ScalarType type) =>
        type == ScalarType.BFloat16 ? new(2, 1, Fixed: false) : new(8, 8, Fixed: false);

    /// <summary>One shape for all products, where no padding makes different shapes agree.</summary>
    public static RowPadding OneShape(int rows) => new(rows, rows, Fixed: true);

    /// <summary>Rows in memory for this many needed ones.</summary>
    public int Rows(int needed) => Math.Max(Minimum, (needed + Multiple - 1) / Multiple * Multiple);

    /// <summary>Rows of one product.</summary>
    public int RowsPerProduct(int needed) => Fixed ? Multiple : Rows(needed);
}
