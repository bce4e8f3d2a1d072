using System.Runtime.InteropServices;
using System.Runtime.Versioning;

namespace Platform.Torch.Collectives;

/// <summary>The system calls that the base class library does not offer: futex, open-file-description locks, allocation, poll.</summary>
internal static unsafe partial class LinuxCalls
{
    private const int FutexWaitOperation = 0;
    private const int FutexWakeOperation = 1;
    private const int GetLock = 36;
    private const int SetLock = 37;
    private const short WriteLock = 1;
    private const short Unlocked = 2;

    public const short PollIn = 1;
    public const short PollOut = 4;

    private static readonly long FutexNumber = RuntimeInformation.ProcessArchitecture switch
    {
        Architecture.X64 => 202,
        Architecture.Arm64 => 98,
        _ => 0,
    };

    /// <summary>Whether shared-memory groups work here.</summary>
    [SupportedOSPlatformGuard("linux")]
    public static bool HasFutex => OperatingSystem.IsLinux() && FutexNumber != 0;

    /// <summary>
    /// Sleeps while the word holds this value, at most so long; may return early without cause (futex(2)). The word may lie
    /// in memory that several processes share.
    /// </summary>
    public static void FutexWait(int* word, int expected, int milliseconds)
    {
        var time = new TimeSpec { Seconds = milliseconds / 1000, Nanoseconds = milliseconds % 1000 * 1_000_000L };
        _ = SysCall(FutexNumber, word, FutexWaitOperation, expected, &time, null, 0);
    }

    /// <summary>Wakes up to so many waiters of the word.</summary>
    public static void FutexWake(int* word, int waiters = int.MaxValue) =>
        _ = SysCall(FutexNumber, word, FutexWakeOperation, waiters, null, null, 0);

    /// <summary>Locks one byte of the file for this open description; the kernel drops the lock when the process ends, however it ends.</summary>
    public static void LockByte(SafeHandle file, long offset)
    {
        var range = new FileLock { Type = WriteLock, Start = offset, Length = 1 };
        if (FileControl(file, SetLock, &range) != 0)
            throw new IOException($"cannot lock byte {offset} of the shared file: error {Marshal.GetLastPInvokeError()}");
    }

    /// <summary>Whether another open description holds the lock of that byte.</summary>
    public static bool IsByteLocked(SafeHandle file, long offset)
    {
        var range = new FileLock { Type = WriteLock, Start = offset, Length = 1 };
        return FileControl(file, GetLock, &range) != 0 || range.Type != Unlocked;
    }

    /// <summary>Reserves the range, so that touching it later cannot fail for want of room.</summary>
    public static void Allocate(SafeHandle file, long offset, long length)
    {
        int error;
        do error = Reserve(file, offset, length);
        while (error == 4);
        if (error != 0)
            throw new IOException($"cannot reserve {length} bytes of shared memory: error {error}");
    }

    /// <summary>Waits until one of the descriptors is ready or so much time has passed (poll(2)).</summary>
    public static int Poll(Span<PollEntry> entries, int milliseconds)
    {
        fixed (PollEntry* first = entries)
            return Poll(first, (nuint)entries.Length, milliseconds);
    }

    /// <summary>Waits for one descriptor.</summary>
    public static void Poll(nint descriptor, short events, int milliseconds)
    {
        var entry = new PollEntry { Descriptor = (int)descriptor, Events = events };
        _ = Poll(&entry, 1, milliseconds);
    }

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial long SysCall(long number, int* word, int operation, int value, TimeSpec* timeout, int* word2, int value3);

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static partial int FileControl(SafeHandle file, int command, FileLock* range);

    [LibraryImport("libc", EntryPoint = "posix_fallocate")]
    private static partial int Reserve(SafeHandle file, long offset, long length);

    [LibraryImport("libc", EntryPoint = "poll", SetLastError = true)]
    private static partial int Poll(PollEntry* entries, nuint count, int milliseconds);

    [StructLayout(LayoutKind.Sequential)]
    internal struct PollEntry
    {
        public int Descriptor;
        public short Events;
        public short Ready;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct TimeSpec
    {
        public long Seconds;
        public long Nanoseconds;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct FileLock
    {
        public short Type;
        public short Whence;
        public long Start;
        public long Length;
        public int Process;
    }
}
