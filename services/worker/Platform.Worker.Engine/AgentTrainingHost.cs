using Platform.Core.Gangs;
using Platform.Hosting.Ranks;
using Platform.Worker.Engine.Training;

namespace Platform.Worker.Engine;

/// <summary>The agent, as training sees it. Calls that need an answer block the model thread, which has nothing else to do.</summary>
/// <param name="link">Link to the agent.</param>
/// <param name="interrupted">Cancelled when the process itself is told to end.</param>
internal sealed class AgentTrainingHost(AgentLink link, CancellationToken interrupted) : ITrainingHost, IDisposable
{
    private readonly CancellationTokenSource _stop = CancellationTokenSource.CreateLinkedTokenSource(link.StopRequested, interrupted);

    public StopRequest? Stop =>
        link.Stop ?? (interrupted.IsCancellationRequested ? new StopRequest("The process was told to end.", TimeSpan.Zero, Checkpoint: false) : null);

    public CancellationToken StopRequested => _stop.Token;

    public void Progress(string phase, double? fraction) => link.Progress(phase, fraction);

    public void Point(StepMetrics point) => link.Point(point);

    public CheckpointCommit CommitCheckpoint(SavedCheckpoint saved) =>
        link.CommitCheckpointAsync(saved, CancellationToken.None).GetAwaiter().GetResult();

    public void RegisterModel(string modelId, string directory, double finalLoss) =>
        link.RegisterModelAsync(modelId, directory, finalLoss, CancellationToken.None).GetAwaiter().GetResult();

    public void Dispose() => _stop.Dispose();
}
