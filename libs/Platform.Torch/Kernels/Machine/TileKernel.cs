namespace Platform.Torch.Kernels.Machine;

/// <summary>
/// Multiplies a few rows by one panel of a packed matrix: 32 outputs, with the weights of a step (one input in fp32, a pair in
/// bf16) lying together. Each result is one chain of additions over the inputs in order, in fp32, whatever the number of rows,
/// so its bits are a function of its row and its column alone.
/// </summary>
internal abstract unsafe class TileKernel<T>
    where T : unmanaged, IElement<T>
{
    /// <summary>Most rows of one call.</summary>
    public const int MaxRows = 14;

    /// <summary>Outputs of a panel.</summary>
    public const int Columns = 32;

    /// <summary>Steps of a round; a panel has whole rounds.</summary>
    public const int StepsPerRound = 4;

    /// <summary>Inputs of a round.</summary>
    public static int RoundInputs => StepsPerRound * T.StepElements;

    /// <summary>What it runs on, for the log.</summary>
    public abstract string Name { get; }

    /// <summary>Computes the product and stores it, or adds it to what is there.</summary>
    /// <param name="rows">Rows, 1 to <see cref="MaxRows"/>.</param>
    /// <param name="input">First row; whole rounds of finite numbers.</param>
    /// <param name="inputStride">Bytes from row to row.</param>
    /// <param name="panel">The panel.</param>
    /// <param name="rounds">Rounds of the panel; at least 1.</param>
    /// <param name="output">First row of 32 results.</param>
    /// <param name="outputStride">Bytes from row to row.</param>
    /// <param name="add">Add instead of store.</param>
    public abstract void Multiply(
        int rows, T* input, nint inputStride, T* panel, int rounds, float* output, nint outputStride, bool add);
}

/// <summary>The kernel for any processor.</summary>
internal sealed unsafe class PortableTileKernel<T> : TileKernel<T>
    where T : unmanaged, IElement<T>
{
    public override string Name => "portable vectors";

    public override void Multiply(
        int rows, T* input, nint inputStride, T* panel, int rounds, float* output, nint outputStride, bool add)
    {
        for (var row = 0; row < rows; row++)
        {
            var x = (T*)((byte*)input + (row * inputStride));
            var (left, right) = (System.Runtime.Intrinsics.Vector512<float>.Zero, System.Runtime.Intrinsics.Vector512<float>.Zero);
            var weights = panel;
            for (var step = 0; step < rounds * StepsPerRound; step++, x += T.StepElements, weights += Columns * T.StepElements)
            {
                left = T.MultiplyStep(x, weights, left);
                right = T.MultiplyStep(x, weights + (Columns / 2 * T.StepElements), right);
            }

            var target = (float*)((byte*)output + (row * outputStride));
            if (add)
            {
                left += System.Runtime.Intrinsics.Vector512.Load(target);
                right += System.Runtime.Intrinsics.Vector512.Load(target + 16);
            }

            System.Runtime.Intrinsics.Vector512.Store(left, target);
            System.Runtime.Intrinsics.Vector512.Store(right, target + 16);
        }
    }
}
