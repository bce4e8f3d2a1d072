using System.Runtime.InteropServices;

namespace Platform.Torch.Kernels.Machine;

/// <summary>The fastest kernel that this machine can run, checked on this machine before it is used.</summary>
internal static unsafe class KernelChoice
{
    private const int Rounds = 9;

    /// <summary>The kernel to use, and why it is not the fastest one when that gave wrong results.</summary>
    public static (TileKernel<T> Kernel, string? Complaint) For<T>()
        where T : unmanaged, IElement<T>
    {
        var portable = new PortableTileKernel<T>();
        if (MachineTileKernel<T>.Instance is not { } machine)
            return (portable, null);
        return Check(machine, portable) is { } complaint ? (portable, complaint) : (machine, null);
    }

    /// <summary>
    /// Compares a kernel with a trusted one on random numbers, every number of rows at once and alone.
    /// </summary>
    /// <returns>What is wrong; null when nothing is.</returns>
    public static string? Check<T>(TileKernel<T> kernel, TileKernel<T> trusted)
        where T : unmanaged, IElement<T>
    {
        const int columns = TileKernel<T>.Columns, most = TileKernel<T>.MaxRows;
        var inputs = Rounds * TileKernel<T>.RoundInputs;
        var memory = NativeMemory.AlignedAlloc((nuint)((inputs * (most + columns) * sizeof(T)) + (3 * most * columns * sizeof(float))), 64);
        try
        {
            return Check(kernel, trusted, (T*)memory);
        }
        finally
        {
            NativeMemory.AlignedFree(memory);
        }
    }

    private static string? Check<T>(TileKernel<T> kernel, TileKernel<T> trusted, T* input)
        where T : unmanaged, IElement<T>
    {
        const int columns = TileKernel<T>.Columns, most = TileKernel<T>.MaxRows;
        var inputs = Rounds * TileKernel<T>.RoundInputs;
        var panel = input + (most * inputs);
        var found = (float*)(input + (inputs * (most + columns)));
        var alone = found + (most * columns);
        var expected = alone + (most * columns);
        var random = new Random(1);
        for (var i = 0; i < inputs * (most + columns); i++)
            input[i] = T.FromSingle((float)(random.NextDouble() - 0.5));
        const int stride = columns * sizeof(float);
        trusted.Multiply(most, input, inputs * sizeof(T), panel, Rounds, expected, stride, add: false);
        for (var row = 0; row < most; row++)
            kernel.Multiply(1, input + (row * inputs), inputs * sizeof(T), panel, Rounds, alone + (row * columns), stride, add: false);
        for (var rows = 1; rows <= most; rows++)
        {
            kernel.Multiply(rows, input, inputs * sizeof(T), panel, Rounds, found, stride, add: false);
            for (var i = 0; i < rows * columns; i++)
            {
                if (!(MathF.Abs(found[i] - expected[i]) < 1e-3f))
                    return $"the {kernel.Name} kernel gave {found[i]} with {rows} rows; {expected[i]} is right";
                if (found[i] != alone[i])
                    return $"the {kernel.Name} kernel gave {found[i]} with {rows} rows and {alone[i]} with one";
            }
        }

        return null;
    }
}
