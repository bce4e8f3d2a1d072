using System.Collections.Concurrent;
using Platform.Core.Gangs;
using Platform.Hosting.Ranks;
using Platform.Worker.Engine.Training;

namespace Platform.Worker.Engine.Tests;

/// <summary>Stands where the agent would, keeps what it is told, and asks to stop after a step when the test wants that.</summary>
internal sealed class RecordingHost : ITrainingHost, IDisposable
{
    private readonly CancellationTokenSource _stop = new();

    public ConcurrentQueue<StepMetrics> Points { get; } = new();

    public ConcurrentQueue<(int Step, string Directory, string Hash)> Checkpoints { get; } = new();

    public ConcurrentQueue<(string Name, string Directory, double Loss)> Models { get; } = new();

    public ConcurrentQueue<string> Phases { get; } = new();

    /// <summary>Called with each point.</summary>
    public Action<StepMetrics>? OnPoint { get; init; }

    public Action<string>? OnProgress { get; init; }

    public Func<int, CheckpointCommit>? OnCommit { get; init; }

    /// <summary>The checkpoints with what they cost.</summary>
    public ConcurrentQueue<SavedCheckpoint> Saved { get; } = new();

    public StopRequest? Stop { get; private set; }

    public CancellationToken StopRequested => _stop.Token;

    public void RequestStop(bool checkpoint)
    {
        Stop = new StopRequest("the test asks", TimeSpan.FromSeconds(5), checkpoint);
        _stop.Cancel();
    }

    public void Progress(string phase, double? fraction)
    {
        Phases.Enqueue(phase);
        OnProgress?.Invoke(phase);
    }

    public void Point(StepMetrics point)
    {
        Points.Enqueue(point);
        OnPoint?.Invoke(point);
    }

    public CheckpointCommit CommitCheckpoint(SavedCheckpoint saved)
    {
        Checkpoints.Enqueue((saved.Step, saved.Directory, saved.ManifestSha256));
        Saved.Enqueue(saved);
        return OnCommit?.Invoke(saved.Step) ?? new CheckpointCommit([], []);
    }

    public void RegisterModel(string modelId, string directory, double finalLoss) => Models.Enqueue((modelId, directory, finalLoss));

    public void Dispose() => _stop.Dispose();
}
