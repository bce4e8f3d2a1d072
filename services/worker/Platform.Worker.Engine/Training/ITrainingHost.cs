using Platform.Core.Gangs;
using Platform.Hosting.Ranks;

namespace Platform.Worker.Engine.Training;

/// <summary>
/// What a training rank says to, and hears from, whoever started it. Called on the model thread; calls may block it.
/// </summary>
public interface ITrainingHost
{
    /// <summary>How to stop, once somebody asked.</summary>
    StopRequest? Stop { get; }

    /// <summary>Cancelled when <see cref="Stop"/> is set.</summary>
    CancellationToken StopRequested { get; }

    /// <summary>Says what the rank is doing.</summary>
    /// <param name="phase">preparing, tokenizing, training, saving, exporting.</param>
    /// <param name="fraction">Share of the phase that is done, [0, 1]; null when it cannot be told.</param>
    void Progress(string phase, double? fraction);

    /// <summary>A step is done.</summary>
    void Point(StepMetrics point);

    /// <summary>Makes a checkpoint exist.</summary>
    /// <param name="step">Step after which it was taken.</param>
    /// <param name="directory">Its directory, relative to the artifact root.</param>
    /// <param name="manifestSha256">Hash of its manifest.</param>
    /// <returns>Directories of checkpoints that may be deleted, relative to the artifact root.</returns>
    /// <exception cref="StaleAttemptException">The attempt is over.</exception>
    IReadOnlyList<string> CommitCheckpoint(int step, string directory, string manifestSha256);

    /// <summary>Registers the finished model.</summary>
    /// <param name="modelId">Name to register it under.</param>
    /// <param name="directory">Hugging Face directory, relative to the artifact root.</param>
    /// <param name="finalLoss">Loss of the last step.</param>
    /// <exception cref="StaleAttemptException">The attempt is over.</exception>
    void RegisterModel(string modelId, string directory, double finalLoss);
}
