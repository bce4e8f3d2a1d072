using System.Runtime.InteropServices;

namespace Platform.Serving.Execution;

/// <summary>Zeroed memory outside the managed heap, aligned to cache lines.</summary>
internal sealed unsafe class NativeBuffer : SafeHandle
{
    private const nuint Alignment = 64;

    /// <summary>Memory of this many bytes.</summary>
    /// <exception cref="OutOfMemoryException">There is not that much.</exception>
    public NativeBuffer(long byteLength)
        : base(0, ownsHandle: true)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(byteLength);
        ByteLength = byteLength;
        handle = (nint)NativeMemory.AlignedAlloc((nuint)Math.Max(byteLength, 1), Alignment);
        NativeMemory.Clear((void*)handle, (nuint)byteLength);
    }

    public long ByteLength { get; }

    public override bool IsInvalid => handle == 0;

    /// <summary>Address of the first byte; the caller keeps the buffer alive.</summary>
    public T* Pointer<T>()
        where T : unmanaged
    {
        ObjectDisposedException.ThrowIf(IsClosed, this);
        return (T*)handle;
    }

    protected override bool ReleaseHandle()
    {
        NativeMemory.AlignedFree((void*)handle);
        return true;
    }
}
