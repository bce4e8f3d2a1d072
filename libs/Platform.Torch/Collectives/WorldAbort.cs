namespace Platform.Torch.Collectives;

/// <summary>The shared fate of a world's groups: aborted at most once, with the first reason.</summary>
internal sealed class WorldAbort : IDisposable
{
    private readonly Lock gate = new();
    private readonly CancellationTokenSource source = new();
    private readonly Action<string, bool> wake;
    private string? reason;
    private bool disposed;

    /// <param name="wake">Called once, outside of any lock, with the reason and whether peers need to be told.</param>
    public WorldAbort(Action<string, bool> wake)
    {
        this.wake = wake;
        Token = source.Token;
    }

    public string? Reason => Volatile.Read(ref reason);

    public CancellationToken Token { get; }

    /// <summary>Records the reason and wakes everyone, unless an earlier reason stands.</summary>
    public void Abort(string why) => Abort(why, tellPeers: true);

    /// <summary>The same for a reason that came from a peer, who tells the others too.</summary>
    public void AbortAsTold(string why) => Abort(why, tellPeers: false);

    /// <summary>Waits for an abort, perhaps already under way, and says whether there is one.</summary>
    public bool WaitAborted(TimeSpan patience)
    {
        lock (gate)
            if (disposed)
                return Reason is not null;
        return Token.WaitHandle.WaitOne(patience);
    }

    private void Abort(string why, bool tellPeers)
    {
        if (Interlocked.CompareExchange(ref reason, why, null) is not null)
            return;
        wake(why, tellPeers);
        lock (gate)
        {
            if (!disposed)
                source.Cancel();
        }
    }

    public void Dispose()
    {
        lock (gate)
        {
            disposed = true;
            source.Dispose();
        }
    }
}
