using Platform.Torch.Collectives;
using ScalarType = TorchSharp.torch.ScalarType;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Parallel;

/// <summary>Collectives on contiguous tensors, in place. In a group of one they do nothing.</summary>
public static class GroupTensors
{
    /// <summary>Replaces the tensor by the sum over the group.</summary>
    public static void AllReduceSum(this ICollectiveGroup group, Tensor tensor) => Reduce(group, tensor, ReduceOperation.Sum);

    /// <summary>Replaces the tensor by the largest over the group.</summary>
    public static void AllReduceMax(this ICollectiveGroup group, Tensor tensor) => Reduce(group, tensor, ReduceOperation.Max);

    /// <summary>Adds numbers up over the group, in double precision.</summary>
    public static unsafe void AllReduceSum(this ICollectiveGroup group, Span<double> values)
    {
        ArgumentNullException.ThrowIfNull(group);
        if (group.Size == 1)
            return;
        fixed (double* first = values)
            group.AllReduce(new CollectiveBuffer((nint)first, values.Length, CollectiveElement.Float64), ReduceOperation.Sum);
    }

    /// <summary>Concatenates the ranks' tensors, in rank order, into one on every rank.</summary>
    public static void AllGather(this ICollectiveGroup group, Tensor part, Tensor whole)
    {
        ArgumentNullException.ThrowIfNull(group);
        group.AllGather(BufferOf(part), BufferOf(whole));
        GC.KeepAlive(part);
        GC.KeepAlive(whole);
    }

    /// <summary>Sums the ranks' tensors and leaves each rank its part of the sum, in rank order.</summary>
    public static void ReduceScatterSum(this ICollectiveGroup group, Tensor whole, Tensor part)
    {
        ArgumentNullException.ThrowIfNull(group);
        group.ReduceScatter(BufferOf(whole), BufferOf(part), ReduceOperation.Sum);
        GC.KeepAlive(whole);
        GC.KeepAlive(part);
    }

    /// <summary>Sends the tensor to a rank of the group.</summary>
    public static void Send(this ICollectiveGroup group, Tensor tensor, int peer)
    {
        ArgumentNullException.ThrowIfNull(group);
        group.Send(BufferOf(tensor), peer);
        GC.KeepAlive(tensor);
    }

    /// <summary>Fills the tensor with the next message of a rank of the group.</summary>
    public static void Receive(this ICollectiveGroup group, Tensor tensor, int peer)
    {
        ArgumentNullException.ThrowIfNull(group);
        group.Receive(BufferOf(tensor), peer);
        GC.KeepAlive(tensor);
    }

    private static void Reduce(ICollectiveGroup group, Tensor tensor, ReduceOperation operation)
    {
        ArgumentNullException.ThrowIfNull(group);
        if (group.Size == 1)
            return;
        group.AllReduce(BufferOf(tensor), operation);
        GC.KeepAlive(tensor);
    }

    /// <summary>A contiguous tensor's memory; the caller keeps the tensor alive while it is in use.</summary>
    internal static CollectiveBuffer BufferOf(Tensor tensor) => new(TensorMemory.Address(tensor), tensor.numel(), tensor.dtype switch
    {
        ScalarType.Float32 => CollectiveElement.Float32,
        ScalarType.Float64 => CollectiveElement.Float64,
        ScalarType.BFloat16 => CollectiveElement.BFloat16,
        ScalarType.Int64 => CollectiveElement.Int64,
        ScalarType.Byte => CollectiveElement.Byte,
        _ => throw new ArgumentException($"Tensors of type {tensor.dtype} do not travel.", nameof(tensor)),
    })
    { Space = tensor.device_type == TorchSharp.DeviceType.CUDA ? MemorySpace.Device : MemorySpace.Host };
}
