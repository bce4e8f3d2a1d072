using Platform.Torch.Cuda;

namespace Platform.Torch.Collectives.Nccl;

/// <summary>
/// A rank of a world of CUDA devices, one per process. It stands on a world of host memory, through which ranks exchange
/// the identifiers of NCCL's communicators and tell each other of failures. A watchdog asks NCCL for failures of its own and
/// ends the world when an operation takes longer than the timeout, since a kernel that waits for a lost peer never returns.
/// </summary>
public sealed class NcclWorld : ICollectiveWorld
{
    private static readonly TimeSpan WatchInterval = TimeSpan.FromMilliseconds(100);

    private readonly ICollectiveWorld _host;
    private readonly CudaDevice _device;
    private readonly NcclLibrary _library;
    private readonly CollectiveOptions _options;
    private readonly TimeProvider _time;
    private readonly WorldAbort _abort;
    private readonly Lock _gate = new();
    private readonly Dictionary<string, NcclGroup> _groups = [];
    private readonly ManualResetEventSlim _ending = new();
    private readonly CancellationTokenRegistration _told;
    private readonly Thread _watchdog;
    private int _disposed;

    internal NcclWorld(ICollectiveWorld host, CudaDevice device, NcclLibrary library, CollectiveOptions options, TimeProvider time)
    {
        (_host, _device, _library, _options, _time) = (host, device, library, options, time);
        _abort = new WorldAbort(Wake);
        _told = host.Aborted.Register(() => _abort.AbortAsTold(host.AbortReason ?? "a peer ended the world"));
        _watchdog = new Thread(Watch) { IsBackground = true, Name = $"NCCL watchdog of rank {host.Rank}" };
        _watchdog.Start();
    }

    /// <inheritdoc/>
    public int Rank => _host.Rank;

    /// <inheritdoc/>
    public int Size => _host.Size;

    /// <inheritdoc/>
    public string? AbortReason => _abort.Reason;

    /// <inheritdoc/>
    public CancellationToken Aborted => _abort.Token;

    /// <summary>A world over another one. Communicators are made when their groups are first used.</summary>
    /// <param name="host">World of the same ranks in host memory; owned by this one from here on.</param>
    /// <param name="device">This process's device; must outlive the world.</param>
    /// <param name="options">Settings; of these the timeout matters here.</param>
    /// <exception cref="NcclException">NCCL is not on this machine.</exception>
    public static NcclWorld Create(ICollectiveWorld host, CudaDevice device, CollectiveOptions options)
    {
        ArgumentNullException.ThrowIfNull(host);
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        return new NcclWorld(host, device, NcclLibrary.OfMachine, options, TimeProvider.System);
    }

    /// <inheritdoc/>
    public ICollectiveGroup CreateGroup(string name, IReadOnlyList<int> members)
    {
        ObjectDisposedException.ThrowIf(Volatile.Read(ref _disposed) != 0, this);
        var identity = GroupIdentity.Create(name, members, Rank, Size);
        lock (_gate)
        {
            if (_groups.ContainsKey(name))
                throw new ArgumentException($"rank {Rank} already has a group named {name}", nameof(name));
            var group = new NcclGroup(identity, _options, _abort, _device, _library, _host.CreateGroup($"{name} (host)", members), _time);
            _groups.Add(name, group);
            if (_abort.Reason is { } reason)
                group.WakeAborted(reason);
            return group;
        }
    }

    /// <inheritdoc/>
    public IReadOnlyList<CollectiveStatus> Status() => [.. Groups().Select(group => group.Status), .. _host.Status()];

    /// <inheritdoc/>
    public void Abort(string reason) => _host.Abort(reason);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        foreach (var group in Groups())
            group.Dispose();
        _ending.Set();
        _watchdog.Join();
        _told.Dispose();
        _host.Dispose();
        _abort.Dispose();
        _ending.Dispose();
    }

    private NcclGroup[] Groups()
    {
        lock (_gate)
            return [.. _groups.Values];
    }

    private void Watch()
    {
        while (!_ending.Wait(WatchInterval) && _abort.Reason is null)
        {
            foreach (var group in Groups())
            {
                if (Trouble(group) is not { } trouble)
                    continue;
                _abort.Abort(trouble);
                return;
            }
        }
    }

    private static string? Trouble(NcclGroup group)
    {
        try
        {
            return group.Trouble();
        }
        catch (CudaException failed)
        {
            return $"The device failed: {failed.Message}";
        }
        catch (ObjectDisposedException)
        {
            return null;
        }
    }

    private void Wake(string reason, bool tellPeers)
    {
        if (tellPeers)
            _host.Abort(reason);
        foreach (var group in Groups())
            group.WakeAborted(reason);
    }
}
