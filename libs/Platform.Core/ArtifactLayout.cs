namespace Platform.Core;

/// <summary>Where things lie in the artifact store. Paths are relative to its root and use forward slashes.</summary>
public static class ArtifactLayout
{
    /// <summary>Write-once folder of a checkpoint: <c>jobs/{job}/{attempt}/{step}</c>.</summary>
    /// <param name="gang">Gang of the job, <c>jobs/{job}</c>.</param>
    /// <param name="attempt">Attempt that wrote it.</param>
    /// <param name="step">Step after which it was taken.</param>
    public static string Checkpoint(string gang, int attempt, int step) => $"{gang}/{attempt}/{step:D8}";

    /// <summary>Final Hugging Face directory of an attempt.</summary>
    public static string FinalModel(string gang, int attempt) => $"{gang}/{attempt}/model";

    /// <summary>Tokenised data and trained tokenizer, by the hash of what they were made from.</summary>
    public static string Dataset(string contentHash) => $"datasets/{contentHash}";

    /// <summary>Imported model.</summary>
    public static string Model(string model, int version) => $"models/{model}/{version}";

    /// <summary>Timeline of a rank's last steps: one Chrome trace event per line.</summary>
    /// <param name="gang">Gang of the job, <c>jobs/{job}</c>.</param>
    /// <param name="attempt">Attempt.</param>
    /// <param name="rank">Rank.</param>
    public static string Trace(string gang, int attempt, int rank) => $"{gang}/{attempt}/trace/rank-{rank}.jsonl";
}
