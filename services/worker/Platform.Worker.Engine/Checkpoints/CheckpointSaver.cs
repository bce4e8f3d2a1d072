using System.Diagnostics;
using Microsoft.Extensions.Logging;
using Platform.Core;
using Platform.Core.Gangs;
using Platform.Formats;
using Platform.Formats.Checkpoints;
using Platform.Formats.HuggingFace;
using Platform.Hosting.Ranks;
using Platform.Torch;
using Platform.Torch.Parallel;
using Platform.Torch.Parallel.Checkpoints;
using Platform.Torch.Parallel.Parameters;
using Platform.Worker.Engine.Planning;
using Platform.Worker.Engine.Training;

namespace Platform.Worker.Engine.Checkpoints;

/// <summary>A checkpoint could not be written; those before it are untouched.</summary>
/// <param name="step">Step after which it was to be taken.</param>
/// <param name="cause">What failed.</param>
public sealed class CheckpointWriteException(int step, Exception cause)
    : Exception($"The checkpoint of step {step} could not be written: {cause.Message}", cause);

/// <summary>
/// Writes checkpoints of a gang and reads the one an attempt resumes from. Each rank writes its own shard, rank 0 the manifest
/// last and then commits. Writing goes on beside training unless the job says otherwise: training pauses only for a copy of
/// the state in memory. What ranks have to agree on is exchanged between steps by the thread that trains; threads that write
/// do nothing but write, so that no two threads of a rank ever meet others in a collective.
/// </summary>
/// <param name="launch">What the rank was told.</param>
/// <param name="plan">What is trained.</param>
/// <param name="groups">The rank's groups.</param>
/// <param name="host">Whom rank 0 tells.</param>
/// <param name="logger">Where rank 0 writes what happens.</param>
public sealed class CheckpointSaver(RankLaunch launch, TrainingPlan plan, ParallelGroups groups, ITrainingHost host, ILogger logger) : IDisposable
{
    private readonly ParameterSnapshot _snapshot = new();
    private PendingCheckpoint? _pending;

    /// <summary>The last checkpoint that exists, relative to the artifact root; null when there is none.</summary>
    public string? Saved { get; private set; }

    /// <summary>
    /// Makes ready, beside training, what the checkpoints of a job that takes them in its course need; the last one of a job is
    /// waited for in any case.
    /// </summary>
    /// <param name="parameters">The rank's tensors.</param>
    public void Prepare(ParameterStore parameters)
    {
        ArgumentNullException.ThrowIfNull(parameters);
        if (plan.Spec.Checkpoint is { Async: true, EverySteps: > 0 } && parameters.SavesState)
            _snapshot.Prepare(parameters);
    }

    /// <summary>
    /// Takes a checkpoint of the state after a step; every rank calls this. It returns once the state may change again. One
    /// that is still being written is waited for first.
    /// </summary>
    /// <param name="parameters">The rank's tensors.</param>
    /// <param name="step">Step after which this is.</param>
    /// <param name="loss">Loss of the last step that had a finite one; not a number when none had.</param>
    /// <param name="guard">What was skipped so far.</param>
    /// <exception cref="CheckpointWriteException">This one, or the one before, could not be written.</exception>
    /// <exception cref="StaleAttemptException">The attempt is over.</exception>
    public void Begin(ParameterStore parameters, int step, double loss, LossGuardState guard)
    {
        // The copy is most of what training stands still for, and so is waiting for the checkpoint before.
        var begun = Stopwatch.GetTimestamp();
        if (_pending is { } earlier)
        {
            if (launch.Rank == 0)
                RankLog.CheckpointWaits(logger, step, earlier.Step);
            Drain();
        }

        var directory = ArtifactLayout.Checkpoint(launch.Gang, launch.Attempt, step);
        var path = Path.Combine(launch.ArtifactRoot, directory);
        var saves = parameters.SavesState;
        var isAsync = plan.Spec.Checkpoint.Async && saves;
        if (isAsync)
            _snapshot.Take(parameters);
        _pending = new PendingCheckpoint(step, loss, guard, directory, begun)
        {
            Writing = isAsync ? Task.Factory.StartNew(
                    () => (CheckpointShard?)WriteShard(() => _snapshot.Write(path, launch.Rank)),
                    CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default)
                : Task.FromResult(saves ? WriteShard(() => ParameterCheckpoint.Write(parameters, path, launch.Rank)) : null),
        };
        _pending.Pause = _pending.Elapsed;
        if (!plan.Spec.Checkpoint.Async)
            Drain();
        else if (launch.Rank == 0)
            RankLog.CheckpointBegun(logger, step, _pending.Pause.TotalMilliseconds, _snapshot.ByteLength / (double)(1 << 20));

        CheckpointShard WriteShard(Func<CheckpointShard> write)
        {
            try
            {
                Directory.CreateDirectory(path);
                return write();
            }
            catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
            {
                throw new CheckpointWriteException(step, failure);
            }
        }
    }

    /// <summary>
    /// Moves the checkpoint that is being written on, if its ranks are far enough; every rank calls this between steps. It
    /// does not wait for disks or for the scheduler.
    /// </summary>
    /// <exception cref="CheckpointWriteException">It could not be written.</exception>
    /// <exception cref="StaleAttemptException">The attempt is over.</exception>
    public void Poll()
    {
        if (_pending is not { } pending || !WorldWait.AllDone(groups.World, pending.Committing ?? pending.Writing))
            return;
        if (pending.Committing is null)
            pending.Committing = CommitAsync(pending, pending.Writing.Result);
        else
            Finish(pending);
    }

    /// <summary>Waits until the checkpoint that is being written exists; every rank calls this.</summary>
    /// <exception cref="CheckpointWriteException">It could not be written.</exception>
    /// <exception cref="StaleAttemptException">The attempt is over.</exception>
    public void Drain()
    {
        while (_pending is { } pending)
        {
            WorldWait.Until(groups.World, pending.Committing ?? pending.Writing);
            if (pending.Committing is null)
                pending.Committing = CommitAsync(pending, pending.Writing.Result);
            else
                Finish(pending);
        }
    }

    /// <summary>Reads this rank's part of a checkpoint that any layout wrote.</summary>
    /// <param name="parameters">The rank's tensors, overwritten.</param>
    /// <param name="directory">The checkpoint, relative to the artifact root.</param>
    /// <returns>Steps taken, the loss of the last of them, and what was skipped.</returns>
    /// <exception cref="CheckpointUnreadableException">It is damaged, or of another job.</exception>
    public (int Step, double Loss, LossGuardState Guard) Resume(ParameterStore parameters, string directory)
    {
        try
        {
            var result = Read(parameters, Path.Combine(launch.ArtifactRoot, directory));
            Saved = directory;
            return result;
        }
        catch (Exception damage) when (damage is ModelFormatException or FileNotFoundException or DirectoryNotFoundException)
        {
            throw new CheckpointUnreadableException(directory, damage);
        }
    }

    /// <summary>Waits for the thread that writes and frees the copy.</summary>
    public void Dispose()
    {
        if (_pending is { } pending)
        {
            ((IAsyncResult)pending.Writing).AsyncWaitHandle.WaitOne();
            _ = pending.Writing.Exception;
            _ = pending.Committing?.Exception;
        }

        _snapshot.Dispose();
    }

    private (int Step, double Loss, LossGuardState Guard) Read(ParameterStore parameters, string path)
    {
        using var reader = CheckpointReader.Open(path, CheckpointVerification.Structure);
        var header = reader.Manifest.Header;

        // A checkpoint may be of a later step than the job's last: its owner asked for fewer while it ran. Then it is done.
        if (header.Seed != plan.Spec.Training.Seed
            || header.DataPosition != header.Step * plan.Spec.Training.GlobalBatchSize)
            throw new ModelFormatException(
                Path.Combine(path, CheckpointManifest.FileName), "header",
                $"found step {header.Step} of seed {header.Seed} at data position {header.DataPosition}; this job has seed " +
                $"{plan.Spec.Training.Seed} and {plan.Spec.Training.GlobalBatchSize} sequences per step");

        // Every byte is checked once, by some rank; the first step needs all ranks, so nothing is built on a damaged file.
        foreach (var (index, shard) in reader.Manifest.Shards.Index())
        {
            if (index % launch.WorldSize == launch.Rank)
                reader.VerifyShard(shard);
        }

        try
        {
            ParameterCheckpoint.Read(parameters, reader);
        }
        catch (ArgumentException refused)
        {
            throw new ModelFormatException(Path.Combine(path, CheckpointManifest.FileName), "", refused.Message, refused);
        }

        return ((int)header.Step, header.State["loss"]?.GetValue<double>() ?? double.NaN, LossGuardState.Of(header.State["loss_guard"]));
    }

    /// <summary>Every shard is written: rank 0 hears of them and goes on by itself.</summary>
    private Task CommitAsync(PendingCheckpoint pending, CheckpointShard? shard)
    {
        var (shards, pause) = CheckpointGathering.Gather(groups.World, shard, pending.Pause);
        return launch.Rank != 0 ? Task.CompletedTask : Task.Factory.StartNew(
            () => Commit(pending, shards, pause), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
    }

    private void Commit(PendingCheckpoint pending, IReadOnlyList<CheckpointShard> shards, TimeSpan pause)
    {
        try
        {
            var hash = CheckpointManifest.Merge(HeaderOf(pending), shards).Write(Path.Combine(launch.ArtifactRoot, pending.Directory));
            var written = pending.Elapsed;
            pending.Cost = new CheckpointCost(
                (plan.Spec.Checkpoint.Async ? pause : written).TotalSeconds, written.TotalSeconds, shards.Sum(shard => shard.File.SizeBytes));
            var commit = host.CommitCheckpoint(new SavedCheckpoint(pending.Step, pending.Directory, hash, pending.Cost));
            DeleteAll(commit, pending.Directory);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new CheckpointWriteException(pending.Step, failure);
        }
    }

    private void Finish(PendingCheckpoint pending)
    {
        Saved = pending.Directory;
        _pending = null;
        if (pending.Cost is { } cost)
            RankLog.Saved(logger, pending.Directory, cost.SizeBytes / (double)(1 << 20), cost.WriteSeconds, cost.PauseSeconds * 1000);
    }

    private CheckpointHeader HeaderOf(PendingCheckpoint pending) => new()
    {
        Job = launch.Gang,
        Attempt = launch.Attempt,
        Step = pending.Step,
        Seed = plan.Spec.Training.Seed,
        DataPosition = (long)pending.Step * plan.Spec.Training.GlobalBatchSize,
        Model = HuggingFaceConfig.Of(plan.Model, plan.Spec.Training.Precision.ToScalarType().ToTensorDataType()).ToJson(),
        State = new() { ["loss"] = double.IsFinite(pending.Loss) ? pending.Loss : null, ["loss_guard"] = pending.Guard.ToJson() },
    };

    /// <summary>Deletes what is no longer kept, and what never became a checkpoint. A folder that cannot be deleted is left for the next time.</summary>
    private void DeleteAll(CheckpointCommit commit, string current)
    {
        var home = Path.GetFullPath(Path.Combine(launch.ArtifactRoot, launch.Gang)) + Path.DirectorySeparatorChar;
        var expired = commit.Expired.Where(directory => directory != current)
            .Select(directory => Path.GetFullPath(Path.Combine(launch.ArtifactRoot, directory)))
            .Where(path => path.StartsWith(home, StringComparison.Ordinal));

        // A scheduler that does not list this very checkpoint has not said which exist.
        var leftovers = commit.Kept.Contains(current)
            ? CheckpointFolders.Leftovers(launch.ArtifactRoot, launch.Gang, launch.Attempt, commit.Kept) : [];
        foreach (var path in expired.Concat(leftovers).Distinct())
        {
            try
            {
                CheckpointFolders.Delete(path);
            }
            catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
            {
                RankLog.NotDeleted(logger, path, failure.Message);
            }
        }
    }
}
