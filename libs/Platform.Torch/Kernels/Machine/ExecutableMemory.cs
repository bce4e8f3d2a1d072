using System.ComponentModel;
using System.Runtime.InteropServices;

namespace Platform.Torch.Kernels.Machine;

/// <summary>Machine code in pages of its own, never writable and executable at once.</summary>
internal sealed unsafe partial class ExecutableMemory : SafeHandle
{
    private const int Read = 1, Write = 2, Execute = 4;
    private const int PrivateAnonymous = 0x22;

    private readonly nuint _length;

    private ExecutableMemory(nint start, nuint length)
        : base(0, ownsHandle: true)
    {
        _length = length;
        SetHandle(start);
    }

    public override bool IsInvalid => handle == 0;

    /// <summary>Puts code into memory.</summary>
    /// <exception cref="Win32Exception">The system allows no executable memory.</exception>
    public static ExecutableMemory Of(ReadOnlySpan<byte> code)
    {
        var length = (nuint)(code.Length + Environment.SystemPageSize - 1) / (nuint)Environment.SystemPageSize * (nuint)Environment.SystemPageSize;
        var start = Map(0, length, Read | Write, PrivateAnonymous, -1, 0);
        if (start == -1)
            throw new Win32Exception();
        var memory = new ExecutableMemory(start, length);
        code.CopyTo(new Span<byte>((void*)start, code.Length));
        if (Protect(start, length, Read | Execute) == 0)
            return memory;
        var refused = new Win32Exception();
        memory.Dispose();
        throw refused;
    }

    /// <summary>Address of a byte of the code; the caller keeps the memory alive.</summary>
    public void* At(int offset)
    {
        ObjectDisposedException.ThrowIf(IsClosed, this);
        return (byte*)handle + offset;
    }

    protected override bool ReleaseHandle() => Unmap(handle, _length) == 0;

    // https://man7.org/linux/man-pages/man2/mmap.2.html
    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial nint Map(nint address, nuint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "mprotect", SetLastError = true)]
    private static partial int Protect(nint address, nuint length, int protection);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    private static partial int Unmap(nint address, nuint length);
}
