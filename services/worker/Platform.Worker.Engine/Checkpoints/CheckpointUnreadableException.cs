namespace Platform.Worker.Engine.Checkpoints;

/// <summary>A committed checkpoint is damaged, incomplete, or not of this job: one before it may be good.</summary>
/// <param name="directory">The checkpoint, relative to the artifact root.</param>
/// <param name="cause">What is wrong with it.</param>
public sealed class CheckpointUnreadableException(string directory, Exception cause)
    : Exception($"The checkpoint {directory} cannot be read: {cause.Message}", cause)
{
    /// <summary>The checkpoint, relative to the artifact root.</summary>
    public string Directory { get; } = directory;
}
