using System.Runtime.Versioning;

namespace Platform.Torch.Collectives.SharedMemory;

/// <summary>
/// The barrier of a group in shared memory: arrivals are counted, the last one opens the gate, the others sleep on a futex.
/// The first meeting of an operation also compares what the ranks came for.
/// </summary>
[SupportedOSPlatform("linux")]
internal sealed unsafe class SharedMeeting(GroupIdentity identity, SharedSegment segment, WorldAbort abort, TimeSpan timeout)
{
    private const int AbortedBit = int.MinValue;
    private const int SliceMilliseconds = 100;

    private Deadline deadline;
    private bool compared;

    /// <summary>Publishes what this rank is about to do.</summary>
    public void Enter(OperationSignature signature)
    {
        *segment.Signature(identity.Rank, signature.Sequence) = signature;
        Volatile.Write(ref *segment.Entered(identity.Rank), signature.Sequence);
        deadline = Deadline.After(timeout);
        compared = false;
    }

    /// <summary>Waits until every rank has arrived.</summary>
    public void Meet(OperationSignature signature)
    {
        var generation = Volatile.Read(ref *segment.Generation);
        var number = *segment.Meetings(identity.Rank) + 1;
        Volatile.Write(ref *segment.Meetings(identity.Rank), number);
        if (Interlocked.Increment(ref *segment.Arrived) == identity.Size)
            Open();
        else
            Wait(signature, generation, number);
        if (!compared)
            Compare(signature);
        compared = true;
    }

    /// <summary>Why waiting for this peer is in vain, if it is.</summary>
    public CollectiveException? Failure(OperationSignature signature, int peer)
    {
        if (segment.AbortReason is { } reason)
            return identity.Aborted(reason);
        return segment.IsGone(peer) ? identity.Gone(signature, [identity.Members[peer]], "left or died") : null;
    }

    public IReadOnlyList<int> NotEntered(OperationSignature signature) =>
        Ranks(rank => Volatile.Read(ref *segment.Entered(rank)) < signature.Sequence);

    private void Open()
    {
        Volatile.Write(ref *segment.Arrived, 0);
        int now;
        int next;
        do
        {
            now = Volatile.Read(ref *segment.Generation);
            next = (now & AbortedBit) | ((now + 1) & ~AbortedBit);
        }
        while (Interlocked.CompareExchange(ref *segment.Generation, next, now) != now);
        LinuxCalls.FutexWake(segment.Generation);
    }

    private void Wait(OperationSignature signature, int generation, long number)
    {
        while (!IsOpen(generation))
        {
            LinuxCalls.FutexWait(segment.Generation, generation, deadline.Milliseconds(SliceMilliseconds));
            if (IsOpen(generation))
                return;
            if (abort.Reason is { } reason)
                throw identity.Aborted(reason);
            if (segment.AbortReason is { } told)
                throw identity.Aborted(told);
            if (Volatile.Read(ref *segment.Generation) != generation)
            {
                // Aborted, and the reason is being written.
                Thread.Yield();
                continue;
            }
            var missing = Ranks(rank => Volatile.Read(ref *segment.Meetings(rank)) < number);
            var gone = missing.Where(segment.IsGone).Select(rank => identity.Members[rank]).ToArray();
            if (gone.Length > 0 && !IsOpen(generation))
                throw identity.Gone(signature, gone, "left or died");
            if (deadline.Expired && !IsOpen(generation))
                throw TimedOut(signature, missing);
        }
    }

    private bool IsOpen(int generation) => ((Volatile.Read(ref *segment.Generation) ^ generation) & ~AbortedBit) != 0;

    private CollectiveTimeoutException TimedOut(OperationSignature signature, IReadOnlyList<int> missing)
    {
        var notEntered = NotEntered(signature);
        return notEntered.Count > 0
            ? identity.NotEntered(signature, WorldRanks(notEntered), timeout)
            : identity.NotFinished(signature, WorldRanks(missing), timeout);
    }

    private void Compare(OperationSignature signature)
    {
        for (var rank = 0; rank < identity.Size; rank++)
            if (*segment.Signature(rank, signature.Sequence) is var theirs && theirs != signature)
                throw identity.Mismatch(signature, theirs, rank);
    }

    private int[] Ranks(Func<int, bool> predicate) => [.. Enumerable.Range(0, identity.Size).Where(predicate)];

    private int[] WorldRanks(IEnumerable<int> ranks) => [.. ranks.Select(rank => identity.Members[rank])];
}
