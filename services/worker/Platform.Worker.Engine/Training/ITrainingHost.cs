using Platform.Core.Gangs;
using Platform.Hosting.Ranks;

namespace Platform.Worker.Engine.Training;

/// <summary>
/// What a training rank says to, and hears from, whoever started it. Calls come from the model thread, which they may block, but
/// for those of <see cref="CommitCheckpoint"/> and <see cref="RegisterModel"/>, which come from threads that have nothing else to do.
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
    /// <param name="saved">The checkpoint, whole on disk.</param>
    /// <returns>What may be deleted now, and what may not.</returns>
    /// <exception cref="StaleAttemptException">The attempt is over.</exception>
    CheckpointCommit CommitCheckpoint(SavedCheckpoint saved);

    /// <summary>Registers the finished model.</summary>
    /// <param name="modelId">Name to register it under.</param>
    /// <param name="directory">Hugging Face directory, relative to the artifact root.</param>
    /// <param name="finalLoss">Loss of the last step.</param>
    /// <exception cref="StaleAttemptException">The attempt is over.</exception>
    void RegisterModel(string modelId, string directory, double finalLoss);
}
