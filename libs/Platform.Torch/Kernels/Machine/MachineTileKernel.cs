using System.ComponentModel;
using System.Runtime.Intrinsics.X86;

namespace Platform.Torch.Kernels.Machine;

/// <summary>
/// The kernel as machine code that is written when the program starts, since .NET 10 has no intrinsic for AVX512-BF16 and
/// keeps no thirty vectors in registers reliably. Rows × 2 sums, two vectors of weights and two inputs take all 32 registers;
/// each weight that was loaded serves all rows of the call.
/// </summary>
internal sealed unsafe class MachineTileKernel<T> : TileKernel<T>
    where T : unmanaged, IElement<T>
{
    private const int FirstWeight = 28, FirstInput = 30;
    private const int PanelStepBytes = 128;
    private const int StepInputBytes = 4;

    // How far ahead of its use a weight is asked for: a few hundred nanoseconds of reading.
    private const int PrefetchBytes = 2048;

    // Rows 3i, 3i + 1 and 3i + 2 are reached from the i-th of these, with the stride as index.
    private static readonly Register[] RowBases = [Register.Rdi, Register.R10, Register.R11, Register.Rax, Register.Rbx];

    private static readonly Lazy<MachineTileKernel<T>?> Shared = new(TryCreate);

    private readonly ExecutableMemory _memory;
    private readonly int[] _storing = new int[MaxRows + 1];
    private readonly int[] _adding = new int[MaxRows + 1];

    private MachineTileKernel()
    {
        var assembler = new Assembler();
        for (var rows = 1; rows <= MaxRows; rows++)
        {
            _storing[rows] = Write(assembler, rows, add: false);
            _adding[rows] = Write(assembler, rows, add: true);
        }

        _memory = ExecutableMemory.Of(assembler.Code);
    }

    public override string Name => T.IsPaired ? "AVX512-BF16" : "AVX-512";

    /// <summary>Whether this processor has the instructions.</summary>
    public static bool IsSupported =>
        OperatingSystem.IsLinux() && Avx512F.IsSupported
        && (!T.IsPaired || (X86Base.CpuId(0, 0).Eax >= 7 && (X86Base.CpuId(7, 1).Eax & (1 << 5)) != 0));

    /// <summary>The kernel, made once; null where processor or system do not allow it.</summary>
    public static MachineTileKernel<T>? Instance => Shared.Value;

    public override void Multiply(
        int rows, T* input, nint inputStride, T* panel, int rounds, float* output, nint outputStride, bool add)
    {
        var code = (delegate* unmanaged<T*, T*, float*, nint, nint, nint, void>)_memory.At((add ? _adding : _storing)[rows]);
        code(input, panel, output, rounds, inputStride, outputStride);
    }

    private static MachineTileKernel<T>? TryCreate()
    {
        if (!IsSupported)
            return null;
        try
        {
            return new MachineTileKernel<T>();
        }
        catch (Win32Exception)
        {
            return null;
        }
    }

    /// <summary>One function: rdi input, rsi panel, rdx output, rcx rounds, r8 and r9 the strides of input and output.</summary>
    private static int Write(Assembler code, int rows, bool add)
    {
        code.Align(64);
        var entry = code.Position;
        code.SaveRbx();
        var bases = RowBases[..((rows + 2) / 3)];
        for (var i = 1; i < bases.Length; i++)
        {
            code.LoadAddress(bases[i], bases[i - 1], Register.R8, 2);
            code.Add(bases[i], Register.R8);
        }

        for (var sum = 0; sum < 2 * rows; sum++)
            code.Zero(sum);
        code.Align(64);
        var loop = code.Position;
        for (var step = 0; step < StepsPerRound; step++)
            WriteStep(code, rows, step);
        foreach (var register in bases)
            code.Add(register, StepsPerRound * StepInputBytes);
        code.Add(Register.Rsi, StepsPerRound * PanelStepBytes);
        code.Decrement(Register.Rcx);
        code.JumpIfNotZero(loop);
        for (var sum = 0; sum < 2 * rows; sum++)
        {
            var target = new Address(Register.Rdx, sum % 2 * 64);
            if (add)
                code.Add(sum, target);
            code.Store(target, sum);
            if (sum % 2 == 1)
                code.Add(Register.Rdx, Register.R9);
        }

        code.RestoreRbxAndReturn();
        return entry;
    }

    private static void WriteStep(Assembler code, int rows, int step)
    {
        for (var half = 0; half < 2; half++)
        {
            var displacement = (step * PanelStepBytes) + (half * 64);
            code.Load(FirstWeight + half, new Address(Register.Rsi, displacement));
            code.Prefetch(new Address(Register.Rsi, displacement + PrefetchBytes));
        }

        for (var row = 0; row < rows; row++)
        {
            var input = FirstInput + (row % 2);
            var start = RowBases[row / 3];
            var displacement = step * StepInputBytes;
            code.Broadcast(input, row % 3 == 0 ? new(start, displacement) : new(start, displacement, Register.R8, row % 3));
            for (var half = 0; half < 2; half++)
            {
                if (T.IsPaired)
                    code.DotBFloat16((2 * row) + half, FirstWeight + half, input);
                else
                    code.MultiplyAdd((2 * row) + half, FirstWeight + half, input);
            }
        }
    }
}
