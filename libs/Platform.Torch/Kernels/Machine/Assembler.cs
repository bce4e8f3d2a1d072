using System.Buffers.Binary;

namespace Platform.Torch.Kernels.Machine;

/// <summary>A general register of 64-bit x86, by its number in instructions.</summary>
internal enum Register
{
    Rax = 0,
    Rcx = 1,
    Rdx = 2,
    Rbx = 3,
    Rsi = 6,
    Rdi = 7,
    R8 = 8,
    R9 = 9,
    R10 = 10,
    R11 = 11,
}

/// <summary>An address: <c>base + index · scale + displacement</c>.</summary>
/// <param name="Base">Base register.</param>
/// <param name="Displacement">Bytes.</param>
/// <param name="Index">Index register, if any.</param>
/// <param name="Scale">1, 2, 4 or 8.</param>
internal readonly record struct Address(Register Base, int Displacement, Register? Index = null, int Scale = 1);

/// <summary>
/// Writes the few instructions that the matrix kernels consist of. Encodings are those of the Intel 64 Software Developer's
/// Manual, volume 2: EVEX with 512-bit vectors, displacements of 8 bits scaled by the operand's size where they fit.
/// </summary>
internal sealed class Assembler
{
    private const int NoPrefix = 0, Prefix66 = 1, PrefixF3 = 2;
    private const int Map0F = 1, Map0F38 = 2;
    private const int VectorBytes = 64, ElementBytes = 4;

    private readonly List<byte> _code = [];

    /// <summary>Bytes written so far, which is also where the next instruction begins.</summary>
    public int Position => _code.Count;

    public ReadOnlySpan<byte> Code => System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_code);

    /// <summary><c>vdpbf16ps sums, a, b</c>: adds the products of pairs of bf16 to sums in fp32.</summary>
    public void DotBFloat16(int sums, int a, int b) => Vector(PrefixF3, Map0F38, 0x52, sums, a, b);

    /// <summary><c>vfmadd231ps sums, a, b</c>.</summary>
    public void MultiplyAdd(int sums, int a, int b) => Vector(Prefix66, Map0F38, 0xB8, sums, a, b);

    /// <summary><c>vpxord register, register, register</c>.</summary>
    public void Zero(int register) => Vector(Prefix66, Map0F, 0xEF, register, register, register);

    /// <summary><c>vbroadcastss target, [source]</c>.</summary>
    public void Broadcast(int target, Address source) => Memory(Prefix66, Map0F38, 0x18, target, 0, source, ElementBytes);

    /// <summary><c>vmovups target, [source]</c>.</summary>
    public void Load(int target, Address source) => Memory(NoPrefix, Map0F, 0x10, target, 0, source, VectorBytes);

    /// <summary><c>vmovups [target], source</c>.</summary>
    public void Store(Address target, int source) => Memory(NoPrefix, Map0F, 0x11, source, 0, target, VectorBytes);

    /// <summary><c>vaddps target, target, [source]</c>.</summary>
    public void Add(int target, Address source) => Memory(NoPrefix, Map0F, 0x58, target, target, source, VectorBytes);

    /// <summary><c>prefetcht0 [address]</c>; the displacement always takes 32 bits.</summary>
    public void Prefetch(Address address)
    {
        if ((int)address.Base >= 8)
            _code.Add(0x41);
        _code.AddRange([0x0F, 0x18]);
        _code.Add((byte)(0x80 | (1 << 3) | ((int)address.Base & 7)));
        Word(address.Displacement);
    }

    /// <summary><c>lea target, [address]</c>; base and index without displacement.</summary>
    public void LoadAddress(Register target, Register start, Register index, int scale)
    {
        _code.Add((byte)(0x48 | High(target, 2) | High(index, 1) | High(start, 0)));
        _code.AddRange([0x8D, (byte)(((int)target & 7) << 3 | 4)]);
        _code.Add((byte)(ScaleBits(scale) | ((int)index & 7) << 3 | ((int)start & 7)));
    }

    /// <summary><c>add target, source</c>.</summary>
    public void Add(Register target, Register source) => Integer(0x01, (int)source, target);

    /// <summary><c>add target, value</c>.</summary>
    public void Add(Register target, int value)
    {
        Integer(0x81, 0, target);
        Word(value);
    }

    /// <summary><c>sub target, 1</c>, which sets the zero flag when the target reaches zero.</summary>
    public void Decrement(Register target)
    {
        Integer(0x83, 5, target);
        _code.Add(1);
    }

    /// <summary><c>jnz</c> back to a position.</summary>
    public void JumpIfNotZero(int position)
    {
        _code.AddRange([0x0F, 0x85]);
        Word(position - (Position + 4));
    }

    /// <summary><c>push rbx</c>.</summary>
    public void SaveRbx() => _code.Add(0x53);

    /// <summary><c>vzeroupper; pop rbx; ret</c>.</summary>
    public void RestoreRbxAndReturn() => _code.AddRange([0xC5, 0xF8, 0x77, 0x5B, 0xC3]);

    /// <summary>Fills up to a multiple with one-byte no-operations.</summary>
    public void Align(int multiple)
    {
        while (Position % multiple != 0)
            _code.Add(0x90);
    }

    private void Vector(int prefix, int map, byte opcode, int target, int second, int third)
    {
        Evex(prefix, map, target, second, x: (third >> 4) & 1, b: (third >> 3) & 1);
        _code.AddRange([opcode, (byte)(0xC0 | (target & 7) << 3 | (third & 7))]);
    }

    private void Memory(int prefix, int map, byte opcode, int target, int second, Address address, int unit)
    {
        Evex(prefix, map, target, second, x: address.Index is { } i ? (int)i >> 3 : 0, b: (int)address.Base >> 3);
        _code.Add(opcode);
        var isShort = address.Displacement % unit == 0 && address.Displacement / unit is >= sbyte.MinValue and <= sbyte.MaxValue;
        var mode = address.Displacement == 0 ? 0 : isShort ? 0x40 : 0x80;
        if (address.Index is { } index)
        {
            _code.Add((byte)(mode | (target & 7) << 3 | 4));
            _code.Add((byte)(ScaleBits(address.Scale) | ((int)index & 7) << 3 | ((int)address.Base & 7)));
        }
        else
        {
            _code.Add((byte)(mode | (target & 7) << 3 | ((int)address.Base & 7)));
        }

        if (mode == 0x40)
            _code.Add((byte)(sbyte)(address.Displacement / unit));
        else if (mode == 0x80)
            Word(address.Displacement);
    }

    /// <summary>The prefix; register bits beyond the third are stored inverted.</summary>
    private void Evex(int prefix, int map, int target, int second, int x, int b)
    {
        _code.Add(0x62);
        _code.Add((byte)((~(target >> 3) & 1) << 7 | (~x & 1) << 6 | (~b & 1) << 5 | (~(target >> 4) & 1) << 4 | map));
        _code.Add((byte)((~second & 15) << 3 | 4 | prefix));
        _code.Add((byte)(2 << 5 | (~(second >> 4) & 1) << 3));
    }

    private void Integer(byte opcode, int field, Register target) => _code.AddRange(
        [(byte)(0x48 | (field >> 3) << 2 | High(target, 0)), opcode, (byte)(0xC0 | (field & 7) << 3 | ((int)target & 7))]);

    private void Word(int value)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, value);
        _code.AddRange(bytes);
    }

    private static int High(Register register, int bit) => ((int)register >> 3) << bit;

    private static int ScaleBits(int scale) => System.Numerics.BitOperations.Log2((uint)scale) << 6;
}
