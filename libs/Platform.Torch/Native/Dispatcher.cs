using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Native;

/// <summary>libtorch refused a call that had passed the checks on this side.</summary>
public sealed class TorchOperatorException : Exception
{
    /// <summary>Names the operator; libtorch itself writes its reason to standard error.</summary>
    public TorchOperatorException(string operatorName)
        : base($"libtorch refused {operatorName}; its reason is on standard error.")
    {
    }

    /// <summary>An exception with a message.</summary>
    public TorchOperatorException(string message, Exception innerException)
        : base(message, innerException)
    {
    }

    /// <summary>An exception without details.</summary>
    public TorchOperatorException()
    {
    }
}

/// <summary>
/// One call of an ATen operator through libtorch's C dispatcher, with autograd recorded as for any other call. Add the
/// arguments in schema order, then call one of the <c>Return</c> methods, which consumes them. Nothing here checks types: an
/// argument of the wrong kind crashes the process, so only the typed wrappers of <see cref="Ops"/> use this, after checking.
/// Encoding of an argument in its 64-bit slot (<c>stableivalue_conversions.h</c>): integers, booleans and doubles as they
/// are; a tensor as an owned handle; a list as an owned list of slots; an optional as null or a pointer to a slot.
/// </summary>
internal unsafe ref struct Dispatcher : IDisposable
{
    private const int MaximumArguments = 16;

    private enum Kind : byte { Plain, Tensor, List, TensorList, OptionalPlain, OptionalTensor }

    private fixed ulong _slots[MaximumArguments];
    private fixed byte _kinds[MaximumArguments];
    private int _count;

    /// <summary>Adds a tensor; the caller keeps its own.</summary>
    public void Add(Tensor tensor) => Push((ulong)Duplicate(tensor), Kind.Tensor);

    /// <summary>Adds a tensor or none.</summary>
    public void AddOptional(Tensor? tensor)
    {
        if (tensor is null)
            Push(0, Kind.Plain);
        else
            Push(Cell((ulong)Duplicate(tensor)), Kind.OptionalTensor);
    }

    /// <summary>Adds a list of tensors; the caller keeps its own.</summary>
    public void Add(IReadOnlyList<Tensor> tensors)
    {
        IntPtr list;
        Succeed(StableAbi.NewList((nuint)tensors.Count, &list), "torch_new_list_reserve_size");
        Push((ulong)list, Kind.TensorList);
        for (var i = 0; i < tensors.Count; i++)
            Succeed(StableAbi.ListPushBack(list, (ulong)Duplicate(tensors[i])), "torch_list_push_back");
    }

    /// <summary>Adds a list of integers.</summary>
    public void Add(scoped ReadOnlySpan<long> values)
    {
        IntPtr list;
        Succeed(StableAbi.NewList((nuint)values.Length, &list), "torch_new_list_reserve_size");
        Push((ulong)list, Kind.List);
        foreach (var value in values)
            Succeed(StableAbi.ListPushBack(list, (ulong)value), "torch_list_push_back");
    }

    /// <summary>Adds an integer.</summary>
    public void Add(long value) => Push((ulong)value, Kind.Plain);

    /// <summary>Adds a floating-point number.</summary>
    public void Add(double value) => Push(BitConverter.DoubleToUInt64Bits(value), Kind.Plain);

    /// <summary>Adds a boolean.</summary>
    public void Add(bool value) => Push(value ? 1UL : 0UL, Kind.Plain);

    /// <summary>Adds a floating-point number or none.</summary>
    public void AddOptional(double? value)
    {
        if (value is { } number)
            Push(Cell(BitConverter.DoubleToUInt64Bits(number)), Kind.OptionalPlain);
        else
            Push(0, Kind.Plain);
    }

    /// <summary>Calls an operator that returns nothing.</summary>
    public void ReturnNothing(ReadOnlySpan<byte> name, ReadOnlySpan<byte> overload) => Call(name, overload);

    /// <summary>Calls an operator that returns one tensor, which the caller owns (within its dispose scope).</summary>
    public Tensor ReturnTensor(ReadOnlySpan<byte> name, ReadOnlySpan<byte> overload)
    {
        Call(name, overload);
        return Tensor.UnsafeCreateTensor((IntPtr)_slots[0]);
    }

    /// <summary>Calls an operator that returns two tensors, which the caller owns (within its dispose scope).</summary>
    public (Tensor First, Tensor Second) ReturnTwoTensors(ReadOnlySpan<byte> name, ReadOnlySpan<byte> overload)
    {
        Call(name, overload);
        return (Tensor.UnsafeCreateTensor((IntPtr)_slots[0]), Tensor.UnsafeCreateTensor((IntPtr)_slots[1]));
    }

    /// <summary>Frees arguments of a call that was given up before it was made.</summary>
    public void Dispose()
    {
        for (var i = 0; i < _count; i++)
            Free(_slots[i], (Kind)_kinds[i]);
        _count = 0;
    }

    private void Call(ReadOnlySpan<byte> name, ReadOnlySpan<byte> overload)
    {
        int failed;
        _count = 0; // From here on the arguments belong to libtorch, whether the call succeeds or not.
        fixed (byte* nameBytes = name)
        fixed (byte* overloadBytes = overload)
        fixed (ulong* stack = _slots)
            failed = StableAbi.CallDispatcher(nameBytes, overloadBytes, stack, StableAbi.BuildVersion);
        if (failed != 0)
            throw new TorchOperatorException(System.Text.Encoding.UTF8.GetString(name));
    }

    private void Push(ulong slot, Kind kind)
    {
        if (_count == MaximumArguments)
        {
            Free(slot, kind);
            throw new InvalidOperationException($"An operator takes at most {MaximumArguments} arguments here.");
        }

        _slots[_count] = slot;
        _kinds[_count++] = (byte)kind;
    }

    private static IntPtr Duplicate(Tensor tensor)
    {
        IntPtr copy;
        Succeed(StableAbi.NewTensorHandle(tensor.Handle, &copy), "aoti_torch_new_tensor_handle");
        GC.KeepAlive(tensor);
        return copy;
    }

    private static ulong Cell(ulong value)
    {
        var cell = StableAbi.CxxNew(sizeof(ulong));
        *(ulong*)cell = value;
        return (ulong)cell;
    }

    private static void Free(ulong slot, Kind kind)
    {
        switch (kind)
        {
            case Kind.Tensor:
                _ = StableAbi.DeleteTensor((IntPtr)slot);
                break;
            case Kind.OptionalTensor:
                _ = StableAbi.DeleteTensor((IntPtr)(*(ulong*)slot));
                StableAbi.CxxDelete((IntPtr)slot);
                break;
            case Kind.OptionalPlain:
                StableAbi.CxxDelete((IntPtr)slot);
                break;
            case Kind.TensorList:
                nuint size;
                _ = StableAbi.ListSize((IntPtr)slot, &size);
                for (nuint i = 0; i < size; i++)
                {
                    ulong item;
                    _ = StableAbi.ListGetItem((IntPtr)slot, i, &item);
                    _ = StableAbi.DeleteTensor((IntPtr)item);
                }

                _ = StableAbi.DeleteList((IntPtr)slot);
                break;
            case Kind.List:
                _ = StableAbi.DeleteList((IntPtr)slot);
                break;
            case Kind.Plain:
            default:
                break;
        }
    }

    private static void Succeed(int code, string function)
    {
        if (code != 0)
            throw new TorchOperatorException(function);
    }
}
