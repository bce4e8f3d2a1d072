using Microsoft.EntityFrameworkCore;
using Platform.Scheduler.Data;

namespace Platform.Scheduler.Adapters;

/// <summary>
/// Who leads. The lease is a row with an epoch that grows with each leader. Holding it is a hint; what makes two leaders
/// harmless is that every commit checks the epoch in its own transaction and every command carries it.
/// </summary>
internal sealed partial class Leadership(
    IDbContextFactory<SchedulerDbContext> factory, SchedulerOptions options, TimeProvider time, ILogger<Leadership> logger) : BackgroundService
{
    private const int RowId = 1;
    private readonly string holder = $"{Environment.MachineName}-{Environment.ProcessId}-{Guid.NewGuid():N}";
    private readonly TimeSpan lease = TimeSpan.FromSeconds(options.LeaderLeaseSeconds);
    private readonly Lock gate = new();
    private (long Epoch, long ValidUntil)? held;

    /// <summary>The epoch while this process leads, else null.</summary>
    public long? Epoch
    {
        get
        {
            lock (gate)
            {
                return held is { } now && time.GetTimestamp() < now.ValidUntil ? now.Epoch : null;
            }
        }
    }

    /// <summary>Raised after leadership was won.</summary>
    public event Action? Won;

    /// <summary>Makes sure, inside the transaction of a commit, that nobody has taken over since.</summary>
    /// <returns>False when somebody has.</returns>
    public async Task<bool> GuardAsync(SchedulerDbContext db, long epoch, CancellationToken cancellationToken) =>
        await db.Leaders.Where(row => row.Id == RowId && row.Epoch == epoch && row.Holder == holder)
            .ExecuteUpdateAsync(set => set.SetProperty(row => row.Epoch, epoch), cancellationToken) == 1;

    /// <summary>Steps back at once, after a commit found that somebody else leads.</summary>
    public void StepDown()
    {
        lock (gate)
        {
            held = null;
        }

        SchedulerMetrics.Leader.Set(0);
    }

    public override async Task StartAsync(CancellationToken cancellationToken)
    {
        await SchemaSetup.EnsureAsync(factory, time, cancellationToken);
        await base.StartAsync(cancellationToken);
    }

    public override async Task StopAsync(CancellationToken cancellationToken)
    {
        await base.StopAsync(cancellationToken);
        StepDown();
        try
        {
            await using var db = await factory.CreateDbContextAsync(cancellationToken);
            // Also when the lease is not sure to be held any more: whoever starts next need not wait for its end.
            await db.Leaders.Where(row => row.Holder == holder)
                .ExecuteUpdateAsync(set => set.SetProperty(row => row.ExpiresUnixMs, 0), cancellationToken);
        }
        catch (Exception exception)
        {
            LogRenewalFailed(logger, exception);
        }
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(lease / 4, time);
        do
        {
            try
            {
                await RenewAsync(stoppingToken);
            }
            catch (Exception exception) when (exception is not OperationCanceledException)
            {
                LogRenewalFailed(logger, exception);
            }
        }
        while (await timer.WaitForNextTickAsync(stoppingToken));
    }

    private async Task RenewAsync(CancellationToken cancellationToken)
    {
        // The lease counts from before the database was asked: a slow answer does not lengthen it.
        long asked = time.GetTimestamp();
        long nowMs = time.GetUtcNow().ToUnixTimeMilliseconds(), expires = nowMs + (long)lease.TotalMilliseconds;
        await using var db = await factory.CreateDbContextAsync(cancellationToken);
        var row = await db.Leaders.AsNoTracking().SingleOrDefaultAsync(leader => leader.Id == RowId, cancellationToken);
        if (row is null)
        {
            db.Leaders.Add(new LeaderRow { Id = RowId, Holder = holder, Epoch = 1, ExpiresUnixMs = expires });
            await db.SaveChangesAsync(cancellationToken);
            Take(1, asked);
            return;
        }

        bool mine = row.Holder == holder;
        if (!mine && row.ExpiresUnixMs > nowMs)
        {
            StepDown();
            return;
        }

        long epoch = mine ? row.Epoch : row.Epoch + 1;
        int changed = await db.Leaders
            .Where(leader => leader.Id == RowId && leader.Epoch == row.Epoch && leader.Holder == row.Holder && leader.ExpiresUnixMs == row.ExpiresUnixMs)
            .ExecuteUpdateAsync(
                set => set.SetProperty(leader => leader.Holder, holder).SetProperty(leader => leader.Epoch, epoch).SetProperty(leader => leader.ExpiresUnixMs, expires),
                cancellationToken);
        if (changed == 1)
        {
            Take(epoch, asked);
        }
        else
        {
            StepDown();
        }
    }

    private void Take(long epoch, long asked)
    {
        bool isNew;
        lock (gate)
        {
            isNew = held?.Epoch != epoch;
            held = (epoch, asked + (long)(lease.TotalSeconds * time.TimestampFrequency));
        }

        SchedulerMetrics.Leader.Set(1);
        SchedulerMetrics.Epoch.Set(epoch);
        if (isNew)
        {
            LogLeading(logger, epoch);
            Won?.Invoke();
        }
    }

    [LoggerMessage(EventId = 3001, Level = LogLevel.Information, Message = "This scheduler leads, epoch {Epoch}")]
    private static partial void LogLeading(ILogger logger, long epoch);

    [LoggerMessage(EventId = 3002, Level = LogLevel.Warning, Message = "The leadership could not be renewed")]
    private static partial void LogRenewalFailed(ILogger logger, Exception exception);
}
