using System.Runtime.InteropServices;
using Platform.Torch.Collectives;

namespace Platform.Torch.Tests.Collectives;

/// <summary>Unmanaged memory as a collective buffer.</summary>
internal sealed unsafe class HostBuffer : IDisposable
{
    private readonly void* memory;

    public HostBuffer(long count, CollectiveElement element)
    {
        var bytes = (nuint)Math.Max(1, count * element.SizeBytes());
        memory = NativeMemory.AllocZeroed(bytes);
        Buffer = new CollectiveBuffer((nint)memory, count, element);
    }

    public CollectiveBuffer Buffer { get; }

    public static HostBuffer Of(byte[] content, CollectiveElement element)
    {
        var buffer = new HostBuffer(content.Length / element.SizeBytes(), element);
        content.CopyTo(new Span<byte>(buffer.memory, content.Length));
        return buffer;
    }

    public static HostBuffer Of(params float[] values) =>
        Of(MemoryMarshal.AsBytes(values.AsSpan()).ToArray(), CollectiveElement.Float32);

    public byte[] ToBytes() => new Span<byte>(memory, checked((int)Buffer.LengthBytes)).ToArray();

    public float[] ToFloats() => MemoryMarshal.Cast<byte, float>(ToBytes()).ToArray();

    public void Dispose() => NativeMemory.Free(memory);
}
