using Platform.Torch.Collectives.Messages;

namespace Platform.Torch.Collectives.SharedMemory;

/// <summary>
/// A byte ring between one writer and one reader in shared memory. Counters only grow; a futex word per side is bumped with
/// each move and waited for when there is nothing to do. A side that sleeps says so, which spares the other a system call.
/// </summary>
internal sealed unsafe class SharedRing(byte* control, byte* data, int capacity) : IBytePipe
{
    /// <summary>Size of the control block; writer's and reader's words lie on lines of their own.</summary>
    public const int ControlBytes = 128;

    private long* Written => (long*)control;

    private int* WrittenSignal => (int*)(control + 8);

    private int* ReaderSleeps => (int*)(control + 12);

    private long* Taken => (long*)(control + 64);

    private int* TakenSignal => (int*)(control + 72);

    private int* WriterSleeps => (int*)(control + 76);

    public int HeldBytes => capacity;

    public int TryWrite(ReadOnlySpan<byte> bytes)
    {
        var written = *Written;
        var free = (int)(capacity - (written - Volatile.Read(ref *Taken)));
        var count = Math.Min(free, bytes.Length);
        if (count == 0)
            return 0;
        var at = (int)(written % capacity);
        var first = Math.Min(count, capacity - at);
        bytes[..first].CopyTo(new Span<byte>(data + at, first));
        bytes[first..count].CopyTo(new Span<byte>(data, count - first));
        Volatile.Write(ref *Written, written + count);
        Signal(WrittenSignal, ReaderSleeps);
        return count;
    }

    public int TryRead(Span<byte> bytes)
    {
        var taken = *Taken;
        var ready = (int)(Volatile.Read(ref *Written) - taken);
        var count = Math.Min(ready, bytes.Length);
        if (count == 0)
            return 0;
        var at = (int)(taken % capacity);
        var first = Math.Min(count, capacity - at);
        new ReadOnlySpan<byte>(data + at, first).CopyTo(bytes);
        new ReadOnlySpan<byte>(data, count - first).CopyTo(bytes[first..]);
        Volatile.Write(ref *Taken, taken + count);
        Signal(TakenSignal, WriterSleeps);
        return count;
    }

    public void WaitWritable(int milliseconds)
    {
        var signal = Volatile.Read(ref *TakenSignal);
        Interlocked.Exchange(ref *WriterSleeps, 1);
        if (capacity - (*Written - Volatile.Read(ref *Taken)) == 0)
            LinuxCalls.FutexWait(TakenSignal, signal, milliseconds);
    }

    public void WaitReadable(int milliseconds)
    {
        var signal = Volatile.Read(ref *WrittenSignal);
        Interlocked.Exchange(ref *ReaderSleeps, 1);
        if (Volatile.Read(ref *Written) == *Taken)
            LinuxCalls.FutexWait(WrittenSignal, signal, milliseconds);
    }

    /// <summary>The ring's memory belongs to the segment.</summary>
    public void Dispose()
    {
    }

    /// <summary>Wakes whoever sleeps at the ring with this control block.</summary>
    public static void Wake(byte* control)
    {
        foreach (var signal in (ReadOnlySpan<int>)[8, 72])
        {
            Interlocked.Increment(ref *(int*)(control + signal));
            LinuxCalls.FutexWake((int*)(control + signal));
        }
    }

    private static void Signal(int* signal, int* sleeps)
    {
        Interlocked.Increment(ref *signal);
        if (Interlocked.Exchange(ref *sleeps, 0) != 0)
            LinuxCalls.FutexWake(signal);
    }
}
