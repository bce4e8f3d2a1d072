using Microsoft.Extensions.Logging;

namespace Platform.Worker.Engine;

/// <summary>What a rank process writes to its log.</summary>
internal static partial class RankLog
{
    [LoggerMessage(2000, LogLevel.Information, "Rank {Rank} of {WorldSize} of {Gang}, attempt {Attempt}, with {Threads} threads on {Node}")]
    public static partial void Started(ILogger logger, int rank, int worldSize, string gang, int attempt, int threads, string node);

    [LoggerMessage(2001, LogLevel.Information, "{Parameters} parameters over tensor {Tensor} × pipeline {Pipeline} × data {Data}; {Tokens} tokens of a vocabulary of {Vocabulary}; {TokensPerStep} tokens per step")]
    public static partial void Planned(
        ILogger logger, long parameters, int tensor, int pipeline, int data, long tokens, int vocabulary, long tokensPerStep);

    [LoggerMessage(2002, LogLevel.Information, "Resuming from {Checkpoint} after step {Step}")]
    public static partial void Resumed(ILogger logger, string checkpoint, int step);

    [LoggerMessage(2003, LogLevel.Information, "step {Step}/{Steps} loss {Loss:F4} grad_norm {GradNorm:F4} lr {LearningRate:E2} {TokensPerSecond:F0} tokens/s")]
    public static partial void Step(ILogger logger, int step, int steps, double loss, double gradNorm, double learningRate, double tokensPerSecond);

    [LoggerMessage(2004, LogLevel.Information, "step {Step} held-out loss {Loss:F4} perplexity {Perplexity:F3}")]
    public static partial void Evaluated(ILogger logger, int step, double loss, double perplexity);

    [LoggerMessage(2005, LogLevel.Information, "Saved {Directory}: {Mebibytes:F1} MiB in {Seconds:F2} s, for which training stood still for {PauseMilliseconds:F1} ms")]
    public static partial void Saved(ILogger logger, string directory, double mebibytes, double seconds, double pauseMilliseconds);

    [LoggerMessage(2040, LogLevel.Information, "Tokenised {Percent} % of the data")]
    public static partial void Tokenizing(ILogger logger, int percent);

    [LoggerMessage(2041, LogLevel.Information, "Continuing from {Directory}: {Trained} of {All} weights are trained")]
    public static partial void Continued(ILogger logger, string directory, long trained, long all);

    [LoggerMessage(2006, LogLevel.Information, "Registered {Model} from {Directory}")]
    public static partial void Exported(ILogger logger, string model, string directory);

    [LoggerMessage(2007, LogLevel.Information, "Stopped on request: {Reason}")]
    public static partial void Stopped(ILogger logger, string reason);

    [LoggerMessage(2009, LogLevel.Warning, "{Reason} The step is skipped, {Skipped} so far; weights and moments stay as they are")]
    public static partial void Skipped(ILogger logger, string reason, int skipped);

    [LoggerMessage(2008, LogLevel.Error, "Failed ({Reason}): {Message}")]
    public static partial void Failed(ILogger logger, string reason, string message, Exception exception);

    [LoggerMessage(2012, LogLevel.Information, "Checkpoint of step {Step}: copied {Mebibytes:F1} MiB in {PauseMilliseconds:F1} ms; training goes on while it is written")]
    public static partial void CheckpointBegun(ILogger logger, int step, double pauseMilliseconds, double mebibytes);

    [LoggerMessage(2013, LogLevel.Warning, "The checkpoint of step {Step} waits: that of step {Earlier} is still being written. Checkpoints are due faster than they can be written")]
    public static partial void CheckpointWaits(ILogger logger, int step, int earlier);

    [LoggerMessage(2014, LogLevel.Warning, "{Path} could not be deleted and is left for the next checkpoint: {Reason}")]
    public static partial void NotDeleted(ILogger logger, string path, string reason);

    [LoggerMessage(2015, LogLevel.Error, "{Checkpoint} cannot be read; the scheduler is told, and the next attempt resumes from the one before it: {Reason}")]
    public static partial void Unreadable(ILogger logger, string checkpoint, string reason);
}
