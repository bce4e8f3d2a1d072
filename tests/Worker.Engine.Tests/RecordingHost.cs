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

    public Func<int, IReadOnlyList<string>>? OnCommit { get; init; }

    public StopRequest? Stop { get; private set; }

    public CancellationToken StopRequested => _stop.Token;

    public void RequestStop(bool checkpoint)
    {
        Stop = new StopRequest("the test asks", TimeSpan.FromSeconds(5), checkpoint);
        _stop.Cancel();
    }

    public void Progress(string phase, double? fraction) => Phases.Enqueue(phase);

    public void Point(StepMetrics point)
    {
        Points.Enqueue(point);
        OnPoint?.Invoke(point);
    }

    public IReadOnlyList<string> CommitCheckpoint(int step, string directory, string manifestSha256)
    {
        Checkpoints.Enqueue((step, directory, manifestSha256));
        return OnCommit?.Invoke(step) ?? [];
    }

    public void RegisterModel(string modelId, string directory, double finalLoss) => Models.Enqueue((modelId, directory, finalLoss));

    public void Dispose() => _stop.Dispose();
}
