using System.Diagnostics;
using Platform.Core.Gangs;
using Platform.Formats.Checkpoints;
using Platform.Worker.Engine.Training;

namespace Platform.Worker.Engine.Checkpoints;

/// <summary>A checkpoint that is being written: first every rank's shard, then rank 0's manifest and commit.</summary>
/// <param name="step">Step after which it is taken.</param>
/// <param name="loss">Loss of the last step that had a finite one.</param>
/// <param name="guard">What was skipped so far.</param>
/// <param name="directory">Its directory, relative to the artifact root.</param>
/// <param name="begun">When training stopped for it, as a timestamp.</param>
internal sealed class PendingCheckpoint(int step, double loss, LossGuardState guard, string directory, long begun)
{
    public int Step => step;

    public double Loss => loss;

    public LossGuardState Guard => guard;

    public string Directory => directory;

    /// <summary>Writes this rank's shard; null where another rank writes everything that this one holds.</summary>
    public required Task<CheckpointShard?> Writing { get; init; }

    /// <summary>Writes the manifest and commits; at once done on all ranks but 0. Null before all shards are written.</summary>
    public Task? Committing { get; set; }

    /// <summary>How long training has stood still for it on this rank.</summary>
    public TimeSpan Pause { get; set; }

    /// <summary>What it cost; known on rank 0 once its manifest is written.</summary>
    public CheckpointCost? Cost { get; set; }

    public TimeSpan Elapsed => Stopwatch.GetElapsedTime(begun);
}
