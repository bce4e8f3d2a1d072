using Platform.Core;
using Platform.Core.Gangs;
using Platform.Formats.Checkpoints;
using Platform.Formats.HuggingFace;
using Platform.Torch;
using Platform.Torch.Collectives;
using Platform.Torch.Parallel;
using Platform.Torch.Parallel.Checkpoints;
using Platform.Torch.Parallel.Parameters;
using Platform.Worker.Engine.Planning;
using Platform.Worker.Engine.Training;

namespace Platform.Worker.Engine.Checkpoints;

/// <summary>Writes checkpoints of a gang and reads the one an attempt resumes from.</summary>
/// <param name="launch">What the rank was told.</param>
/// <param name="plan">What is trained.</param>
/// <param name="groups">The rank's groups.</param>
/// <param name="host">Whom rank 0 tells.</param>
public sealed class CheckpointSaver(RankLaunch launch, TrainingPlan plan, ParallelGroups groups, ITrainingHost host)
{
    /// <summary>
    /// Writes the state after a step, each rank its own shard, rank 0 the manifest last; then it makes the checkpoint exist and
    /// deletes those that are no longer kept. Every rank calls this; it returns once this rank's part is done.
    /// </summary>
    /// <param name="parameters">The rank's tensors.</param>
    /// <param name="step">Step after which this is.</param>
    /// <param name="loss">Loss of that step.</param>
    /// <returns>The directory, relative to the artifact root.</returns>
    public string Save(ParameterStore parameters, int step, double loss)
    {
        var directory = ArtifactLayout.Checkpoint(launch.Gang, launch.Attempt, step);
        var path = Path.Combine(launch.ArtifactRoot, directory);
        Directory.CreateDirectory(path);
        var shard = parameters.SavesState ? ParameterCheckpoint.Write(parameters, path, launch.Rank) : null;
        if (launch.Rank != 0)
        {
            if (shard is not null)
                SendBytes(groups.World, shard.ToUtf8());
            return directory;
        }

        var shards = new List<CheckpointShard>();
        if (shard is not null)
            shards.Add(shard);
        for (var rank = 1; rank < groups.Mesh.WorldSize; rank++)
        {
            if (parameters.Storage.Zero != ZeroStage.None || groups.Mesh.CoordinateOf(rank).Data == 0)
                shards.Add(CheckpointShard.Parse(ReceiveBytes(groups.World, rank)));
        }

        var hash = CheckpointManifest.Merge(HeaderOf(step, loss), shards).Write(path);
        foreach (var expired in host.CommitCheckpoint(step, directory, hash))
            Delete(expired, directory);
        return directory;
    }

    /// <summary>Reads this rank's part of a checkpoint that any layout wrote.</summary>
    /// <param name="parameters">The rank's tensors, overwritten.</param>
    /// <param name="directory">The checkpoint, relative to the artifact root.</param>
    /// <returns>Steps taken, and the loss of the last of them.</returns>
    /// <exception cref="Formats.ModelFormatException">It is damaged, or of another job.</exception>
    public (int Step, double Loss) Resume(ParameterStore parameters, string directory)
    {
        var path = Path.Combine(launch.ArtifactRoot, directory);

        // One rank checks every byte; the others would only repeat that.
        using var reader = CheckpointReader.Open(path, launch.Rank == 0 ? CheckpointVerification.Hashes : CheckpointVerification.Structure);
        var header = reader.Manifest.Header;
        if (header.Seed != plan.Spec.Training.Seed || header.Step > plan.Spec.Training.Steps
            || header.DataPosition != header.Step * plan.Spec.Training.GlobalBatchSize)
            throw new Formats.ModelFormatException(
                Path.Combine(path, CheckpointManifest.FileName), "header",
                $"found step {header.Step} of seed {header.Seed} at data position {header.DataPosition}; this job has seed " +
                $"{plan.Spec.Training.Seed}, {plan.Spec.Training.Steps} steps and {plan.Spec.Training.GlobalBatchSize} sequences per step");
        try
        {
            ParameterCheckpoint.Read(parameters, reader);
        }
        catch (ArgumentException refused)
        {
            throw new Formats.ModelFormatException(Path.Combine(path, CheckpointManifest.FileName), "", refused.Message, refused);
        }

        return ((int)header.Step, header.State["loss"]?.GetValue<double>() ?? double.NaN);
    }

    private CheckpointHeader HeaderOf(int step, double loss) => new()
    {
        Job = launch.Gang,
        Attempt = launch.Attempt,
        Step = step,
        Seed = plan.Spec.Training.Seed,
        DataPosition = (long)step * plan.Spec.Training.GlobalBatchSize,
        Model = HuggingFaceConfig.Of(plan.Model, plan.Spec.Training.Precision.ToScalarType().ToTensorDataType()).ToJson(),
        State = new() { ["loss"] = loss },
    };

    private void Delete(string expired, string current)
    {
        var prefix = launch.Gang + "/";
        var path = Path.GetFullPath(Path.Combine(launch.ArtifactRoot, expired));
        var gang = Path.GetFullPath(Path.Combine(launch.ArtifactRoot, prefix));
        if (expired == current || !path.StartsWith(gang, StringComparison.Ordinal) || !Directory.Exists(path))
            return;

        // The manifest goes first: what is left of an interrupted deletion is not a checkpoint.
        File.Delete(Path.Combine(path, CheckpointManifest.FileName));
        Directory.Delete(path, recursive: true);
    }

    private static unsafe void SendBytes(ICollectiveGroup world, byte[] bytes)
    {
        long length = bytes.Length;
        world.Send(new CollectiveBuffer((nint)(&length), 1, CollectiveElement.Int64), 0);
        fixed (byte* first = bytes)
            world.Send(new CollectiveBuffer((nint)first, length, CollectiveElement.Byte), 0);
    }

    private static unsafe byte[] ReceiveBytes(ICollectiveGroup world, int rank)
    {
        long length;
        world.Receive(new CollectiveBuffer((nint)(&length), 1, CollectiveElement.Int64), rank);
        var bytes = new byte[length];
        fixed (byte* first = bytes)
            world.Receive(new CollectiveBuffer((nint)first, length, CollectiveElement.Byte), rank);
        return bytes;
    }
}
