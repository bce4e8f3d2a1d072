using System.IO.MemoryMappedFiles;
using System.Runtime.Versioning;
using System.Security.Cryptography;
using System.Text;

namespace Platform.Torch.Collectives.SharedMemory;

/// <summary>
/// The file that the members of a group map. Whoever comes first makes it; all zeros is its valid first state. Whoever
/// completes the attendance unlinks it, so a process that is killed later leaves no file behind. Each member holds a lock on
/// one byte of it for as long as it lives, by which the others know.
/// </summary>
/// <remarks>
/// Layout: a page with attendance, abort and meeting words; one line per member (progress, signatures); one control block per
/// directed pair; three staging slots per member; one message ring per directed pair, allocated when first used.
/// </remarks>
[SupportedOSPlatform("linux")]
internal sealed unsafe class SharedSegment : IDisposable
{
    private const int AttachedAt = 0;
    private const int AbortedAt = 64;
    private const int ReasonLengthAt = 68;
    private const int ReasonAt = 128;
    private const int ReasonCapacity = 1024;
    private const int ArrivedAt = 2048;
    private const int GenerationAt = 2112;
    private const int MembersAt = 4096;
    private const int MemberStride = 192;
    private const int PageBytes = 4096;

    private readonly FileStream file;
    private readonly MemoryMappedFile mapping;
    private readonly MemoryMappedViewAccessor view;
    private readonly byte* start;
    private readonly string path;
    private readonly string name;
    private readonly int size;
    private readonly int rank;
    private readonly long edgesAt;
    private readonly long slotsAt;
    private readonly long ringsAt;

    public SharedSegment(string directory, string world, GroupIdentity identity, int slotBytes, int ringBytes)
    {
        size = identity.Size;
        rank = identity.Rank;
        SlotBytes = slotBytes;
        RingBytes = ringBytes;
        edgesAt = Align(MembersAt + (long)size * MemberStride);
        slotsAt = Align(edgesAt + (long)size * size * SharedRing.ControlBytes);
        ringsAt = Align(slotsAt + (long)size * Slots * slotBytes);
        var length = ringsAt + (long)size * size * ringBytes;
        path = Path.Combine(directory, $"platform-{Hash(world)}-{Hash(identity.Name)}");
        name = identity.Name;
        file = Open(path);
        try
        {
            if (file.Length != length)
                file.SetLength(length);
            LinuxCalls.Allocate(file.SafeFileHandle, 0, ringsAt);
            mapping = MemoryMappedFile.CreateFromFile(file, null, 0, MemoryMappedFileAccess.ReadWrite, HandleInheritability.None, leaveOpen: true);
            view = mapping.CreateViewAccessor(0, length);
            view.SafeMemoryMappedViewHandle.AcquirePointer(ref start);
            LinuxCalls.LockByte(file.SafeFileHandle, rank);
        }
        catch (IOException exception)
        {
            view?.Dispose();
            mapping?.Dispose();
            file.Dispose();
            File.Delete(path);
            throw Unavailable(exception);
        }
        Volatile.Write(ref *Attached(rank), 1);
        if (Interlocked.Increment(ref *Word(AttachedAt)) == size)
            File.Delete(path);
    }

    /// <summary>Slots of each member: one is filled while the one before is reduced and the one before that copied out.</summary>
    public const int Slots = 3;

    public int SlotBytes { get; }

    public int RingBytes { get; }

    /// <summary>Ranks that have arrived at the meeting in progress.</summary>
    public int* Arrived => Word(ArrivedAt);

    /// <summary>Number of the meeting, 31 bits; the top bit is set once the group is aborted.</summary>
    public int* Generation => Word(GenerationAt);

    /// <summary>Number of the last collective that the member has entered.</summary>
    public long* Entered(int member) => (long*)Line(member);

    /// <summary>Number of meetings that the member has arrived at.</summary>
    public long* Meetings(int member) => (long*)(Line(member) + 8);

    /// <summary>What the member said it would do in the collective of this number.</summary>
    public OperationSignature* Signature(int member, long sequence) =>
        (OperationSignature*)(Line(member) + 64 + (sequence & 1) * OperationSignature.Size);

    public byte* Slot(int member, int slot) => start + slotsAt + ((long)member * Slots + slot) * SlotBytes;

    /// <summary>The ring for messages from one member to another, its memory reserved.</summary>
    public SharedRing Ring(int from, int to)
    {
        var index = (long)from * size + to;
        var dataAt = ringsAt + index * RingBytes;
        try
        {
            LinuxCalls.Allocate(file.SafeFileHandle, dataAt, RingBytes);
        }
        catch (IOException exception)
        {
            throw Unavailable(exception);
        }
        return new SharedRing(start + edgesAt + index * SharedRing.ControlBytes, start + dataAt, RingBytes);
    }

    /// <summary>Whether the member was here and is no more: it has left or its process has ended.</summary>
    public bool IsGone(int member) =>
        member != rank && Volatile.Read(ref *Attached(member)) != 0 && !LinuxCalls.IsByteLocked(file.SafeFileHandle, member);

    /// <summary>The reason another member left for all to read.</summary>
    public string? AbortReason
    {
        get
        {
            if (Volatile.Read(ref *Word(AbortedAt)) != 2)
                return null;
            return Encoding.UTF8.GetString(start + ReasonAt, *Word(ReasonLengthAt));
        }
    }

    /// <summary>Leaves the reason for all members, unless one is there, and wakes every waiter of the group.</summary>
    public void Abort(string reason)
    {
        if (Interlocked.CompareExchange(ref *Word(AbortedAt), 1, 0) == 0)
        {
            var bytes = Encoding.UTF8.GetBytes(reason);
            var length = Math.Min(bytes.Length, ReasonCapacity);
            bytes.AsSpan(0, length).CopyTo(new Span<byte>(start + ReasonAt, ReasonCapacity));
            *Word(ReasonLengthAt) = length;
            Volatile.Write(ref *Word(AbortedAt), 2);
        }
        Interlocked.Or(ref *Generation, int.MinValue);
        LinuxCalls.FutexWake(Generation);
        for (var index = 0; index < size * size; index++)
            SharedRing.Wake(start + edgesAt + (long)index * SharedRing.ControlBytes);
    }

    public void Dispose()
    {
        view.SafeMemoryMappedViewHandle.ReleasePointer();
        view.Dispose();
        mapping.Dispose();
        file.Dispose();
        // Gone already, unless some member never came.
        File.Delete(path);
    }

    private FileStream Open(string path)
    {
        try
        {
            return new FileStream(path, new FileStreamOptions
            {
                Mode = FileMode.OpenOrCreate,
                Access = FileAccess.ReadWrite,
                Share = FileShare.ReadWrite | FileShare.Delete,
                BufferSize = 0,
                UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            });
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw Unavailable(exception);
        }
    }

    private CollectiveConnectException Unavailable(Exception exception) => new(
        $"{name}: no shared memory at {path} ({exception.Message}); give its file system more room, or lower {nameof(CollectiveOptions.SharedMemoryBytesPerGroup)} and {nameof(CollectiveOptions.SharedMemoryBytesPerEdge)}", exception);

    private int* Word(int offset) => (int*)(start + offset);

    private int* Attached(int member) => (int*)(Line(member) + 16);

    private byte* Line(int member) => start + MembersAt + (long)member * MemberStride;

    private static long Align(long offset) => (offset + PageBytes - 1) / PageBytes * PageBytes;

    private static string Hash(string text) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)).AsSpan(0, 8));
}
