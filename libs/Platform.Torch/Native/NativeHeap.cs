using System.Runtime.InteropServices;

namespace Platform.Torch.Native;

/// <summary>How much the C library's allocator has handed out: libtorch's CPU tensors lie there, managed objects do not.</summary>
internal static partial class NativeHeap
{
    private static bool _isMissing = !OperatingSystem.IsLinux();

    /// <summary>Bytes in use, in arenas and mapped blocks (mallinfo2(3)); null where the allocator does not tell.</summary>
    public static long? BytesInUse()
    {
        if (_isMissing)
            return null;
        try
        {
            var info = MallInfo2();
            return (long)(info.ArenaInUse + info.Mapped);
        }
        catch (Exception refused) when (refused is EntryPointNotFoundException or DllNotFoundException)
        {
            _isMissing = true;
            return null;
        }
    }

    [LibraryImport("libc", EntryPoint = "mallinfo2")]
    private static partial AllocatorInfo MallInfo2();

    [StructLayout(LayoutKind.Sequential)]
    private struct AllocatorInfo
    {
        public nuint Arena;
        public nuint FreeChunks;
        public nuint FastChunks;
        public nuint MappedRegions;
        public nuint Mapped;
        public nuint Unused;
        public nuint FastFree;
        public nuint ArenaInUse;
        public nuint ArenaFree;
        public nuint TopReleasable;
    }
}
