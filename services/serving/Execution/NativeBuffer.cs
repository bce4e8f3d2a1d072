using System.Runtime.InteropServices;

namespace Platform.Serving.Execution;

/// <summary>
/// Zeroed memory outside the managed heap, aligned to cache lines. Large buffers are mapped, so that their pages cost nothing
/// before they are touched, and ask for large pages, without which reading weights waits for address translation.
/// </summary>
internal sealed unsafe partial class NativeBuffer : SafeHandle
{
    private const nuint Alignment = 64;
    private const long MappedFrom = 1 << 20;
    private const long LargePage = 2 << 20;
    private const int ReadWrite = 3, PrivateAnonymous = 0x22, AdviceHugePages = 14;

    private static long s_liveBytes;

    private readonly nint _mapping;
    private readonly nuint _mappedLength;

    /// <summary>Memory of this many bytes.</summary>
    /// <exception cref="InsufficientMemoryException">There is not that much.</exception>
    public NativeBuffer(long byteLength)
        : base(0, ownsHandle: true)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(byteLength);
        ByteLength = byteLength;
        Interlocked.Add(ref s_liveBytes, byteLength);
        if (byteLength < MappedFrom || !OperatingSystem.IsLinux())
        {
            handle = (nint)NativeMemory.AlignedAlloc((nuint)Math.Max(byteLength, 1), Alignment);
            NativeMemory.Clear((void*)handle, (nuint)byteLength);
            return;
        }

        _mappedLength = (nuint)(byteLength + LargePage);
        _mapping = Map(0, _mappedLength, ReadWrite, PrivateAnonymous, -1, 0);
        if (_mapping == -1)
            throw new InsufficientMemoryException($"The system refused {byteLength} bytes.");
        handle = (nint)((_mapping + LargePage - 1) / LargePage * LargePage);
        // Where large pages are switched off this fails, and small ones do.
        _ = Advise(handle, (nuint)byteLength, AdviceHugePages);
    }

    /// <summary>Bytes of all buffers of the process.</summary>
    public static long LiveBytes => Interlocked.Read(ref s_liveBytes);

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
        Interlocked.Add(ref s_liveBytes, -ByteLength);
        if (_mapping != 0)
            return Unmap(_mapping, _mappedLength) == 0;
        NativeMemory.AlignedFree((void*)handle);
        return true;
    }

    // https://man7.org/linux/man-pages/man2/mmap.2.html, madvise.2.html
    [LibraryImport("libc", EntryPoint = "mmap")]
    private static partial nint Map(nint address, nuint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Advise(nint address, nuint length, int advice);

    [LibraryImport("libc", EntryPoint = "munmap")]
    private static partial int Unmap(nint address, nuint length);
}
