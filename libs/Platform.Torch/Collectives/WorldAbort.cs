namespace Platform.Torch.Collectives;

/// <summary>The shared fate of a world's groups: aborted at most once, with the first reason.</summary>
internal sealed class WorldAbort : IDisposable
{
    private readonly Lock gate = new();
    private readonly CancellationTokenSource source = new();
    private readonly Action<string> wake;
    private string? reason;
    private bool disposed;

    /// <param name="wake">Called once, outside of any lock, to wake waiters and tell peers.</param>
    public WorldAbort(Action<string> wake)
    {
        this.wake = wake;
        Token = source.Token;
    }

    public string? Reason => Volatile.Read(ref reason);

    public CancellationToken Token { get; }

    /// <summary>Records the reason and wakes everyone, unless an earlier reason stands.</summary>
    public void Abort(string why)
    {
        if (Interlocked.CompareExchange(ref reason, why, null) is not null)
            return;
        wake(why);
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
