using Platform.Formats.Safetensors;
using Platform.Torch.Native;
using TorchSharp;
using ScalarType = TorchSharp.torch.ScalarType;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch;

/// <summary>The bytes of a tensor: copying into new tensors, and reaching the memory of contiguous CPU tensors in place.</summary>
public static unsafe class TensorMemory
{
    /// <summary>Bytes of one element.</summary>
    /// <exception cref="ArgumentException">The type has no fixed size here.</exception>
    public static int ElementBytes(ScalarType type) => type switch
    {
        ScalarType.Float64 or ScalarType.Int64 => 8,
        ScalarType.Float32 or ScalarType.Int32 => 4,
        ScalarType.BFloat16 or ScalarType.Float16 or ScalarType.Int16 => 2,
        ScalarType.Byte or ScalarType.Int8 or ScalarType.Bool => 1,
        _ => throw new ArgumentException($"Type {type} is not supported.", nameof(type)),
    };

    /// <summary>Size in bytes of a tensor's elements.</summary>
    public static long ByteLength(Tensor tensor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        return tensor.numel() * ElementBytes(tensor.dtype);
    }

    /// <summary>
    /// Address of the first element. It is valid as long as the tensor is; the caller keeps the tensor alive
    /// (<see cref="GC.KeepAlive"/>) until it is done with the memory.
    /// </summary>
    /// <param name="tensor">A contiguous CPU tensor.</param>
    /// <exception cref="ArgumentException">The tensor is on another device or not contiguous.</exception>
    public static nint DataPointer(Tensor tensor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        if (tensor.device_type != DeviceType.CPU || !tensor.is_contiguous())
            throw new ArgumentException(
                $"Expected a contiguous CPU tensor, found shape {TensorArgument.Shape(tensor)} on {tensor.device}" +
                (tensor.is_contiguous() ? "." : ", not contiguous."), nameof(tensor));
        return RawPointer(tensor);
    }

    /// <summary>Address of the first element in the memory of the tensor's device; as <see cref="DataPointer"/> on any device.</summary>
    /// <param name="tensor">A contiguous tensor.</param>
    /// <exception cref="ArgumentException">The tensor is not contiguous.</exception>
    public static nint Address(Tensor tensor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        return tensor.is_contiguous()
            ? RawPointer(tensor)
            : throw new ArgumentException($"Expected a contiguous tensor, found shape {TensorArgument.Shape(tensor)}.", nameof(tensor));
    }

    /// <summary>The elements of a contiguous CPU tensor, in place. Keep the tensor alive while the span is in use.</summary>
    /// <typeparam name="T">An unmanaged type of the element's size, e.g. <c>float</c>, or <c>ushort</c> for bf16 bits.</typeparam>
    /// <exception cref="ArgumentException">The tensor is not contiguous on the CPU, or the sizes differ.</exception>
    public static Span<T> Span<T>(Tensor tensor)
        where T : unmanaged
    {
        var pointer = DataPointer(tensor);
        if (sizeof(T) != ElementBytes(tensor.dtype))
            throw new ArgumentException($"{typeof(T).Name} has not the size of {tensor.dtype}.", nameof(tensor));
        return new Span<T>((void*)pointer, checked((int)tensor.numel()));
    }

    /// <summary>The bytes of a contiguous CPU tensor of at most 2 GiB, in place. Keep the tensor alive while the span is in use.</summary>
    /// <exception cref="ArgumentException">The tensor is not contiguous on the CPU.</exception>
    /// <exception cref="OverflowException">It is larger; use <see cref="DataPointer"/>.</exception>
    public static Span<byte> Bytes(Tensor tensor) => new((void*)DataPointer(tensor), checked((int)ByteLength(tensor)));

    /// <summary>A new CPU tensor with a copy of the values.</summary>
    /// <param name="values">As many elements as the shape has, row by row.</param>
    /// <param name="shape">Shape of the tensor.</param>
    /// <param name="type">Type whose element size is that of <typeparamref name="T"/>.</param>
    public static Tensor FromSpan<T>(ReadOnlySpan<T> values, ReadOnlySpan<long> shape, ScalarType type)
        where T : unmanaged
    {
        if (sizeof(T) != ElementBytes(type))
            throw new ArgumentException($"{typeof(T).Name} has not the size of {type}.", nameof(type));
        if (values.Length != Elements(shape))
            throw new ArgumentException(
                $"Shape [{string.Join(", ", shape.ToArray())}] has {Elements(shape)} elements, found {values.Length}.", nameof(values));
        var tensor = Empty(shape, type);
        values.CopyTo(Span<T>(tensor));
        return tensor;
    }

    /// <summary>A new CPU tensor with a copy of memory, such as a region of a mapped file.</summary>
    /// <param name="source">Address of the first byte.</param>
    /// <param name="byteLength">Bytes to copy: exactly those of the shape.</param>
    /// <param name="shape">Shape of the tensor.</param>
    /// <param name="type">Type of the elements.</param>
    public static Tensor FromPointer(nint source, long byteLength, ReadOnlySpan<long> shape, ScalarType type)
    {
        if (source == 0 && byteLength != 0)
            throw new ArgumentException("The source address is null.", nameof(source));
        if (byteLength != checked(Elements(shape) * ElementBytes(type)))
            throw new ArgumentException(
                $"Shape [{string.Join(", ", shape.ToArray())}] of {type} has {Elements(shape) * ElementBytes(type)} bytes, found {byteLength}.",
                nameof(byteLength));
        var tensor = Empty(shape, type);
        Buffer.MemoryCopy((void*)source, (void*)DataPointer(tensor), byteLength, byteLength);
        return tensor;
    }

    /// <summary>Appends a tensor's bytes to a safetensors file.</summary>
    /// <param name="tensor">A contiguous CPU tensor.</param>
    /// <param name="writer">The file.</param>
    /// <param name="name">Name under which the tensor was declared there.</param>
    public static void WriteTo(Tensor tensor, SafetensorsWriter writer, string name)
    {
        ArgumentNullException.ThrowIfNull(writer);
        const long block = 1 << 30;
        var pointer = (byte*)DataPointer(tensor);
        var length = ByteLength(tensor);
        for (long done = 0; done < length; done += block)
            writer.Write(name, new ReadOnlySpan<byte>(pointer + done, (int)Math.Min(block, length - done)));
        GC.KeepAlive(tensor);
    }

    /// <summary>A new CPU tensor whose elements are not set.</summary>
    public static Tensor Empty(ReadOnlySpan<long> shape, ScalarType type)
    {
        NativeRuntime.EnsureLoaded();
        return torch.empty(shape.ToArray(), dtype: type, device: torch.CPU);
    }

    internal static nint RawPointer(Tensor tensor)
    {
        void* pointer;
        if (StableAbi.GetDataPointer(tensor.Handle, &pointer) != 0)
            throw new TorchOperatorException("aoti_torch_get_data_ptr");
        GC.KeepAlive(tensor);
        return (nint)pointer;
    }

    private static long Elements(ReadOnlySpan<long> shape)
    {
        var count = 1L;
        foreach (var length in shape)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(length, nameof(shape));
            count = checked(count * length);
        }

        return count;
    }
}
