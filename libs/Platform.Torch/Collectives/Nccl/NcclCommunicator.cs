namespace Platform.Torch.Collectives.Nccl;

/// <summary>An <c>ncclComm_t</c>, ended exactly once: destroyed when its work is done, or aborted from any thread.</summary>
internal sealed unsafe class NcclCommunicator : IDisposable
{
    private readonly NcclLibrary _library;
    private readonly nint _handle;
    private int _ended;

    /// <summary>Joins; returns when every rank has.</summary>
    /// <param name="library">NCCL.</param>
    /// <param name="id">Identifier that one rank made and all share.</param>
    /// <param name="ranks">Number of ranks.</param>
    /// <param name="rank">This one.</param>
    /// <param name="what">What it is for, in messages.</param>
    public NcclCommunicator(NcclLibrary library, NcclUniqueId id, int ranks, int rank, string what)
    {
        _library = library;
        nint handle;
        library.Check(library.InitializeRank(&handle, ranks, id, rank), $"ncclCommInitRank of {what}", 0);
        _handle = handle;
    }

    /// <summary>For calls on it; do not use it after its end.</summary>
    public nint Handle
    {
        get
        {
            ObjectDisposedException.ThrowIf(Volatile.Read(ref _ended) != 0, this);
            return _handle;
        }
    }

    /// <summary>NCCL's words for a failure it noticed on its own; null while all is well or after the end.</summary>
    public string? AsyncError()
    {
        if (Volatile.Read(ref _ended) != 0)
            return null;
        int status;
        var result = _library.GetAsyncError(_handle, &status);
        var error = result != 0 ? result : status;
        return error is 0 or NcclLibrary.InProgress ? null : _library.Describe(error, _handle);
    }

    /// <summary>Ends it and the kernels that wait in it.</summary>
    public void Abort()
    {
        if (Interlocked.Exchange(ref _ended, 1) == 0)
            _library.Abort(_handle);
    }

    public void Dispose()
    {
        if (Interlocked.Exchange(ref _ended, 1) == 0)
            _library.Destroy(_handle);
    }
}
