using System.Runtime.InteropServices;

namespace Platform.Torch.Native;

/// <summary>
/// Memory of whole pages, straight from the system: the C library's allocator, by which tensors are counted, does not see it.
/// The system finds a page when it is first written to, which takes longer than the writing; <see cref="Touch"/> has it done
/// beforehand, beside other work. Elsewhere than on Linux it comes from the runtime's allocator.
/// </summary>
internal sealed unsafe partial class PageMemory : IDisposable
{
    private const int ReadWrite = 3;
    private const int PrivateAnonymous = 0x22;
    private const int PageBytes = 4096;
    private const long BlockBytes = 4 << 20;

    private byte* _start;

    /// <summary>Reserves memory; its contents are zero.</summary>
    /// <param name="lengthBytes">Bytes.</param>
    /// <exception cref="InsufficientMemoryException">There is not so much.</exception>
    public PageMemory(long lengthBytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(lengthBytes);
        Length = lengthBytes;
        var reserved = (nuint)Math.Max(1, lengthBytes);
        _start = OperatingSystem.IsLinux() ? Map(0, reserved, ReadWrite, PrivateAnonymous, -1, 0) : (byte*)NativeMemory.AllocZeroed(reserved);
        if (_start == (byte*)-1)
        {
            _start = null;
            throw new InsufficientMemoryException($"The system has no {lengthBytes} bytes for a copy of the state (error {Marshal.GetLastPInvokeError()}).");
        }
    }

    /// <summary>Bytes.</summary>
    public long Length { get; }

    /// <summary>The first byte.</summary>
    public byte* Start
    {
        get
        {
            ObjectDisposedException.ThrowIf(_start == null, this);
            return _start;
        }
    }

    /// <summary>Has the system find all pages, in blocks, until it is cancelled. What is written meanwhile may be overwritten with zeros.</summary>
    public void Touch(CancellationToken cancellationToken)
    {
        for (long block = 0; block < Length && !cancellationToken.IsCancellationRequested; block += BlockBytes)
        {
            for (var page = block; page < Math.Min(Length, block + BlockBytes); page += PageBytes)
                Volatile.Write(ref Start[page], 0);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_start == null)
            return;
        if (OperatingSystem.IsLinux())
            _ = Unmap(_start, (nuint)Math.Max(1, Length));
        else
            NativeMemory.Free(_start);
        _start = null;
    }

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial byte* Map(nint address, nuint length, int protection, int flags, int file, long offset);

    [LibraryImport("libc", EntryPoint = "munmap")]
    private static partial int Unmap(byte* address, nuint length);
}
