namespace Platform.Core.Gangs;

/// <summary>What a checkpoint cost.</summary>
/// <param name="PauseSeconds">How long training stood still for it.</param>
/// <param name="WriteSeconds">From the decision to take it until its manifest was on disk.</param>
/// <param name="SizeBytes">Bytes of all shards.</param>
public sealed record CheckpointCost(double PauseSeconds, double WriteSeconds, long SizeBytes);

/// <summary>A checkpoint whose manifest is on disk and that is to exist.</summary>
/// <param name="Step">Step after which it was taken.</param>
/// <param name="Directory">Its directory, relative to the artifact root.</param>
/// <param name="ManifestSha256">Hash of its manifest, lower-case hexadecimal.</param>
/// <param name="Cost">What it cost.</param>
public sealed record SavedCheckpoint(int Step, string Directory, string ManifestSha256, CheckpointCost Cost);

/// <summary>The answer to a commit.</summary>
/// <param name="Expired">Directories of checkpoints that it made superfluous, relative to the artifact root.</param>
/// <param name="Kept">
/// Directories of every checkpoint of the gang that exists; any other folder of a checkpoint is a leftover. Empty when the
/// scheduler did not say.
/// </param>
public sealed record CheckpointCommit(IReadOnlyList<string> Expired, IReadOnlyList<string> Kept);
