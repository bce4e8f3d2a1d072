using Platform.Torch.Collectives;

namespace Platform.Serving.Execution.Sharding;

/// <summary>
/// The ranks of a tensor-parallel replica as one of them sees them. Rank 0 leads: before it computes an iteration it tells the
/// others what to compute, and all run the same layers, each on its share, summing in fp32 what a share alone does not know.
/// Sums fold in rank order and element by element, so a row's bits depend on that row alone here as well. While there is
/// nothing to compute the leader lets itself be heard, by which each side finds out about the other's end.
/// </summary>
internal sealed unsafe class TensorPeers : IDisposable
{
    // The first numbers of a message travel in one piece of fixed size, which is all there is of most messages.
    private const int FrameNumbers = 1024, HeaderNumbers = 2;

    private static readonly TimeSpan BeatInterval = TimeSpan.FromSeconds(1);

    private readonly ICollectiveWorld _world;
    private readonly ICollectiveGroup _group;
    private readonly TimeProvider _time;
    private readonly Action<Exception> _lost;
    private readonly Lock _gate = new();
    private NativeBuffer? _message;
    private ITimer? _beats;
    private bool _closed;

    private enum MessageKind
    {
        Beat,
        Batch,
        Close,
    }

    /// <summary>Joins the group of all ranks of a world, which is owned from now on.</summary>
    /// <param name="world">The replica's ranks.</param>
    /// <param name="time">Clock.</param>
    /// <param name="lost">Told, on any thread and perhaps more than once, that the leader has lost its peers; the replica cannot go on.</param>
    public TensorPeers(ICollectiveWorld world, TimeProvider time, Action<Exception> lost)
    {
        _world = world;
        _group = world.CreateGroup("tensor group 0", [.. Enumerable.Range(0, world.Size)]);
        _time = time;
        _lost = lost;
        Shard = new TensorShard(world.Rank, world.Size);
    }

    /// <summary>This rank's share.</summary>
    public TensorShard Shard { get; }

    /// <summary>Whether this rank leads.</summary>
    public bool Leads => Shard.Rank == 0;

    /// <summary>What this rank's collectives are doing.</summary>
    public IReadOnlyList<CollectiveStatus> Status() => _world.Status();

    /// <summary>Gets ready for messages of up to so many numbers. A leader is heard from now on.</summary>
    public void Prepare(long numbers)
    {
        // What is never touched costs nothing.
        _message = new NativeBuffer((HeaderNumbers + Math.Max(numbers, FrameNumbers)) * sizeof(int));
        if (Leads)
            _beats = _time.CreateTimer(_ => Beat(), null, BeatInterval, BeatInterval);
    }

    /// <summary>Tells the others what to compute; until <see cref="End"/> the group is this iteration's.</summary>
    public void Begin(IterationBatch batch)
    {
        _gate.Enter();
        var count = batch.NumberCount;
        batch.Write(new Span<int>(Numbers + HeaderNumbers, count));
        Tell(MessageKind.Batch, count);
    }

    /// <summary>The iteration is over.</summary>
    public void End() => _gate.Exit();

    /// <summary>Waits for the leader's next iteration.</summary>
    /// <param name="batch">Receives it.</param>
    /// <returns>False when the replica ends.</returns>
    public bool Receive(IterationBatch batch)
    {
        while (true)
        {
            _group.Broadcast(Integers(0, FrameNumbers), 0);
            var (kind, count) = ((MessageKind)Numbers[0], Numbers[1]);
            if (kind == MessageKind.Beat)
                continue;
            if (kind == MessageKind.Close)
                return false;
            if (HeaderNumbers + count > FrameNumbers)
                _group.Broadcast(Integers(FrameNumbers, HeaderNumbers + count - FrameNumbers), 0);
            batch.Read(new ReadOnlySpan<int>(Numbers + HeaderNumbers, count));
            return true;
        }
    }

    /// <summary>Replaces numbers by their sums over the ranks.</summary>
    public void Sum(float* values, long count) => _group.AllReduce(Floats(values, count), ReduceOperation.Sum);

    /// <summary>Sends numbers to the leader.</summary>
    public void Send(float* values, long count) => _group.Send(Floats(values, count), 0);

    /// <summary>Receives numbers from a peer.</summary>
    public void Receive(int peer, float* values, long count) => _group.Receive(Floats(values, count), peer);

    /// <summary>Wakes all ranks, which fail with this reason unless there is one already.</summary>
    public void Abort(string reason) => _world.Abort(reason);

    /// <summary>Ends the replica on all ranks after something went wrong on the leader.</summary>
    public void Fail(Exception exception)
    {
        Abort(exception.Message);
        _lost(exception);
    }

    public void Dispose()
    {
        _beats?.Dispose();
        lock (_gate)
        {
            if (_closed)
                return;
            _closed = true;
            try
            {
                if (Leads && _message is not null)
                    Tell(MessageKind.Close, 0);
            }
            catch (CollectiveException)
            {
                // They are gone already.
            }

            _world.Dispose();
            _message?.Dispose();
        }
    }

    private int* Numbers => (_message ?? throw new InvalidOperationException("Messages have no room yet.")).Pointer<int>();

    private void Beat()
    {
        if (!_gate.TryEnter())
            return;
        try
        {
            if (!_closed)
                Tell(MessageKind.Beat, 0);
        }
        catch (CollectiveException exception)
        {
            Fail(exception);
        }
        finally
        {
            _gate.Exit();
        }
    }

    private void Tell(MessageKind kind, int count)
    {
        (Numbers[0], Numbers[1]) = ((int)kind, count);
        _group.Broadcast(Integers(0, FrameNumbers), 0);
        if (HeaderNumbers + count > FrameNumbers)
            _group.Broadcast(Integers(FrameNumbers, HeaderNumbers + count - FrameNumbers), 0);
    }

    private CollectiveBuffer Integers(int first, int count) => new((nint)(Numbers + first), (long)count * sizeof(int), CollectiveElement.Byte);

    private static CollectiveBuffer Floats(float* values, long count) => new((nint)values, count, CollectiveElement.Float32);
}
