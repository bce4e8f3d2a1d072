using Platform.Serving.Core.Output;
using Platform.Serving.Core.Scheduling;
using Platform.Serving.Engine;
using Prometheus;

namespace Platform.Serving.Adapters;

/// <summary>
/// All metrics of the service: OpenTelemetry's GenAI figures in Prometheus spelling, and the engine figures that vLLM
/// publishes under the same names after its prefix.
/// </summary>
internal sealed class ServingMetrics : IEngineObserver
{
    private static readonly string[] Labels = ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"];
    private static readonly string[] ModelLabel = ["model_name"];

    private static readonly Histogram TimeToFirstToken = Metrics.CreateHistogram(
        "gen_ai_server_time_to_first_token_seconds", "Time from a request's arrival to its first token.",
        new HistogramConfiguration { LabelNames = Labels, Buckets = [.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10] });

    private static readonly Histogram TimePerOutputToken = Metrics.CreateHistogram(
        "gen_ai_server_time_per_output_token_seconds", "Mean time between the tokens of an output after its first.",
        new HistogramConfiguration { LabelNames = Labels, Buckets = [.001, .0025, .005, .01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5] });

    private static readonly Histogram RequestDuration = Metrics.CreateHistogram(
        "gen_ai_server_request_duration_seconds", "Time from a request's arrival to its last token.",
        new HistogramConfiguration { LabelNames = Labels, Buckets = Histogram.ExponentialBuckets(.01, 2, 14) });

    private static readonly Gauge Running = Gauge("num_requests_running", "Sequences in progress.");
    private static readonly Gauge Waiting = Gauge("num_requests_waiting", "Sequences that wait for their turn.");
    private static readonly Gauge CacheUsage = Gauge("kv_cache_usage_perc", "Share of the key/value cache's blocks that is in use, 0 to 1.");
    private static readonly Counter PromptTokens = Counter("prompt_tokens_total", "Prompt tokens computed.");
    private static readonly Counter GenerationTokens = Counter("generation_tokens_total", "Tokens produced.");
    private static readonly Counter Preemptions = Counter("num_preemptions_total", "Times a sequence lost its blocks to older ones.");
    private static readonly Counter PrefixQueries = Counter("prefix_cache_queries_total", "Tokens looked up in the prefix cache.");
    private static readonly Counter PrefixHits = Counter("prefix_cache_hits_total", "Tokens found in the prefix cache.");

    private static readonly Histogram IterationTokens = Metrics.CreateHistogram(
        "platform_serving_iteration_tokens_total", "Tokens computed in one iteration.",
        new HistogramConfiguration { LabelNames = ModelLabel, Buckets = [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192] });

    private static readonly Counter Finishes = Metrics.CreateCounter(
        "platform_serving_request_success_total", "Choices that ended, by reason.", ["model_name", "finished_reason"]);

    private readonly string _model;
    private readonly Histogram.Child _firstToken, _perToken, _duration, _iterationTokens;

    public ServingMetrics(string model)
    {
        _model = model;
        string[] labels = ["text_completion", "platform", model];
        _firstToken = TimeToFirstToken.WithLabels(labels);
        _perToken = TimePerOutputToken.WithLabels(labels);
        _duration = RequestDuration.WithLabels(labels);
        _iterationTokens = IterationTokens.WithLabels(model);
        foreach (var counter in new[] { PromptTokens, GenerationTokens, Preemptions, PrefixQueries, PrefixHits })
            counter.WithLabels(model).Publish();
        foreach (var reason in Enum.GetValues<FinishReason>())
            Finished(reason).Publish();
    }

    public void Iterated(IterationScheduler scheduler, IterationPlan plan, int produced, EngineSnapshot snapshot)
    {
        var prompt = 0;
        foreach (var span in plan.Spans)
            prompt += Math.Clamp(span.Sequence.PromptLength - span.Start, 0, span.Count);

        PromptTokens.WithLabels(_model).Inc(prompt);
        GenerationTokens.WithLabels(_model).Inc(produced);
        _iterationTokens.Observe(plan.TokenCount);
        Preemptions.WithLabels(_model).IncTo(scheduler.PreemptionCount);
        PrefixQueries.WithLabels(_model).IncTo(scheduler.PrefixQueriedTokens);
        PrefixHits.WithLabels(_model).IncTo(scheduler.PrefixHitTokens);
        Idle(snapshot);
    }

    public void Idle(EngineSnapshot snapshot)
    {
        Running.WithLabels(_model).Set(snapshot.Running);
        Waiting.WithLabels(_model).Set(snapshot.Waiting);
        CacheUsage.WithLabels(_model).Set(1 - ((double)snapshot.BlocksFree / snapshot.BlocksTotal));
    }

    public void FirstToken(double seconds) => _firstToken.Observe(seconds);

    public void Finished(FinishReason reason, double seconds, double outputSeconds, int tokens)
    {
        Finished(reason).Inc();
        if (reason is FinishReason.Cancelled or FinishReason.Error)
            return;
        _duration.Observe(seconds);
        if (tokens > 1)
            _perToken.Observe(outputSeconds / (tokens - 1));
    }

    private Counter.Child Finished(FinishReason reason) => Finishes.WithLabels(_model, reason.ToString().ToLowerInvariant());

    private static Gauge Gauge(string name, string help) => Metrics.CreateGauge($"platform_serving_{name}", help, ModelLabel);

    private static Counter Counter(string name, string help) => Metrics.CreateCounter($"platform_serving_{name}", help, ModelLabel);
}
