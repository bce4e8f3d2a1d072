using Microsoft.EntityFrameworkCore;
using Platform.Core.Gangs;
using Platform.Formats.Checkpoints;
using Platform.Hosting.Artifacts;
using Platform.Scheduler.Data;
using Platform.Scheduling.Gangs;

namespace Platform.Scheduler.Adapters;

/// <summary>
/// Deletes the checkpoints that nobody can need any more (<see cref="CheckpointRetention"/>). Logs, timelines, exported models
/// and whatever else a job left stay; so does every folder in which a registered model lies.
/// </summary>
internal sealed partial class CheckpointSweeper(
    Leadership leadership, IDbContextFactory<SchedulerDbContext> factory, ArtifactOptions artifacts, SchedulerOptions options, TimeProvider time,
    ILogger<CheckpointSweeper> logger) : BackgroundService
{
    private static readonly TimeSpan LongestPause = TimeSpan.FromHours(1);

    private readonly HashSet<string> swept = new(StringComparer.Ordinal);

    private TimeSpan KeptFor => TimeSpan.FromHours(options.FailedCheckpointHours);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (KeptFor == TimeSpan.Zero)
        {
            return;
        }

        var pause = TimeSpan.FromSeconds(Math.Max(0.1, Math.Min(LongestPause.TotalSeconds, KeptFor.TotalSeconds / 4)));
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                if (leadership.Epoch is not null)
                {
                    await SweepAsync(stoppingToken);
                }
            }
            catch (Exception exception) when (exception is not OperationCanceledException)
            {
                // A database or a file system that does not answer now may do so next time.
                LogPutOff(logger, exception);
            }

            await Task.Delay(pause, time, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private async Task SweepAsync(CancellationToken cancellationToken)
    {
        await using var db = await factory.CreateDbContextAsync(cancellationToken);
        var ended = await db.Gangs.AsNoTracking()
            .Where(gang => gang.Terminal && (gang.Stage == nameof(GangStage.Failed) || gang.Stage == nameof(GangStage.Cancelled))).ToListAsync(cancellationToken);
        var over = ended.Where(row => !swept.Contains(row.Gang) && CheckpointRetention.IsOver(GangJson.Read<GangState>(row.State), KeptFor, time.GetUtcNow()))
            .Select(row => row.Gang).ToList();
        if (over.Count == 0)
        {
            return;
        }

        var models = await db.Models.AsNoTracking().Select(model => model.Directory).ToListAsync(cancellationToken);
        var needed = models.Select(directory => Path.GetFullPath(artifacts.Resolve(directory))).ToList();
        foreach (string gang in over)
        {
            cancellationToken.ThrowIfCancellationRequested();
            if (Sweep(gang, needed))
            {
                swept.Add(gang);
            }
        }
    }

    private bool Sweep(string gang, List<string> needed)
    {
        bool complete = true;
        int deleted = 0;
        foreach (string folder in CheckpointFolders.All(artifacts.Root, gang))
        {
            if (needed.Any(model => model == folder || model.StartsWith(folder + Path.DirectorySeparatorChar, StringComparison.Ordinal)))
            {
                continue;
            }

            try
            {
                CheckpointFolders.Delete(folder);
                deleted++;
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
            {
                complete = false;
                LogKept(logger, folder, exception.Message);
            }
        }

        if (deleted > 0)
        {
            LogSwept(logger, deleted, gang, options.FailedCheckpointHours);
        }

        return complete;
    }

    [LoggerMessage(EventId = 3060, Level = LogLevel.Information, Message = "Deleted {Count} checkpoints of {Gang}, which ended without success more than {Hours} h ago")]
    private static partial void LogSwept(ILogger logger, int count, string gang, double hours);

    [LoggerMessage(EventId = 3061, Level = LogLevel.Warning, Message = "The checkpoint {Folder} could not be deleted and is tried again later: {Problem}")]
    private static partial void LogKept(ILogger logger, string folder, string problem);

    [LoggerMessage(EventId = 3062, Level = LogLevel.Warning, Message = "Checkpoints that nobody needs could not be looked for; it is tried again later")]
    private static partial void LogPutOff(ILogger logger, Exception exception);
}
