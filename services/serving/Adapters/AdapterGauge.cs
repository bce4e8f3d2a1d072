using Platform.Serving.Core.Scheduling;
using Prometheus;

namespace Platform.Serving.Adapters;

/// <summary>
/// vLLM's <c>lora_requests_info</c>: which adapters requests use now, as labels of a gauge whose value is the time of the last
/// change. Older combinations of labels are withdrawn.
/// </summary>
internal sealed class AdapterGauge
{
    /// <summary>Name of the gauge after the prefix.</summary>
    public const string Name = "lora_requests_info";

    private static readonly Gauge Info = Metrics.CreateGauge(
        $"platform_serving_{Name}", "Adapters in use; the value is the time of the last change, in Unix seconds.",
        ["model_name", "max_lora", "running_lora_adapters", "waiting_lora_adapters"]);

    private readonly string _model;
    private readonly string _most;
    private readonly IReadOnlyList<string> _names;
    private readonly bool[] _running, _waiting, _isRunning, _isWaiting;
    private string[] _labels = [];

    /// <summary>A gauge of a model's adapters.</summary>
    /// <param name="model">Model.</param>
    /// <param name="names">Names of its adapters, number 1 first.</param>
    /// <param name="most">Most adapters.</param>
    public AdapterGauge(string model, IReadOnlyList<string> names, int most)
    {
        (_model, _names) = (model, names);
        _most = $"{most}";
        (_running, _waiting) = (new bool[names.Count + 1], new bool[names.Count + 1]);
        (_isRunning, _isWaiting) = (new bool[names.Count + 1], new bool[names.Count + 1]);
        if (names.Count > 0)
            Publish();
    }

    /// <summary>Looks at the sequences; allocates nothing unless other adapters are in use than before.</summary>
    public void Update(IterationScheduler scheduler)
    {
        if (_names.Count == 0)
            return;
        Mark(scheduler.Running, _isRunning);
        Mark(scheduler.Waiting, _isWaiting);
        if (_isRunning.AsSpan().SequenceEqual(_running) && _isWaiting.AsSpan().SequenceEqual(_waiting))
            return;
        _isRunning.CopyTo(_running, 0);
        _isWaiting.CopyTo(_waiting, 0);
        Publish();
    }

    private static void Mark(IReadOnlyList<SequenceState> sequences, bool[] used)
    {
        Array.Clear(used);
        for (var i = 0; i < sequences.Count; i++)
            used[sequences[i].Adapter] = true;
        used[0] = false;
    }

    private void Publish()
    {
        if (_labels.Length > 0)
            Info.RemoveLabelled(_labels);
        _labels = [_model, _most, Names(_running), Names(_waiting)];
        Info.WithLabels(_labels).SetToCurrentTimeUtc();
    }

    private string Names(bool[] used) => string.Join(",", _names.Where((_, i) => used[i + 1]));
}
