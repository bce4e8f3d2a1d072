using Platform.Hosting.Telemetry;
using Platform.Serving.Core.Output;
using Platform.Serving.Core.Scheduling;
using Platform.Serving.Engine;
using Prometheus;

namespace Platform.Serving.Adapters;

/// <summary>
/// All metrics of the service: OpenTelemetry's GenAI figures in Prometheus spelling, and the engine figures that vLLM
/// publishes (vllm/v1/metrics/loggers.py), under our prefix and under theirs.
/// </summary>
internal sealed class ServingMetrics : IEngineObserver
{
    private static readonly string[] Labels = ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"];
    private static readonly string[] ModelLabel = ["model_name"];

    private static readonly Dictionary<string, string> Aliases = [];

    // vLLM's buckets, in seconds and in tokens.
    private static readonly double[] FirstTokenBuckets =
        [.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560];

    private static readonly double[] InterTokenBuckets =
        [.001, .0025, .005, .01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80];

    private static readonly double[] RequestBuckets =
        [.3, .5, .8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680];

    private static readonly double[] TokenBuckets =
        [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000];

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
    private static readonly Counter Drafts = Counter("spec_decode_num_drafts_total", "Times a sequence had guesses checked.");
    private static readonly Counter DraftedTokens = Counter("spec_decode_num_draft_tokens_total", "Tokens that speculation guessed.");
    private static readonly Counter AcceptedTokens = Counter("spec_decode_num_accepted_tokens_total", "Guessed tokens that were right.");
    private static readonly Counter PrefixHits = Counter("prefix_cache_hits_total", "Tokens found in the prefix cache.");

    private static readonly Histogram IterationTokens = Sizes("iteration_tokens_total", "Tokens computed in one iteration.", [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192]);
    private static readonly Histogram FirstTokens = Sizes("time_to_first_token_seconds", "Time from a request's arrival to its first token.", FirstTokenBuckets);
    private static readonly Histogram InterToken = Sizes("inter_token_latency_seconds", "Time between two tokens of an output.", InterTokenBuckets);
    private static readonly Histogram EndToEnd = Sizes("e2e_request_latency_seconds", "Time from a request's arrival to the end of a choice.", RequestBuckets);
    private static readonly Histogram QueueTime = Sizes("request_queue_time_seconds", "Time a choice waited for its first iteration.", RequestBuckets);
    private static readonly Histogram PrefillTime = Sizes("request_prefill_time_seconds", "Time from a choice's first iteration to its first token.", RequestBuckets);
    private static readonly Histogram DecodeTime = Sizes("request_decode_time_seconds", "Time from a choice's first token to its last.", RequestBuckets);
    private static readonly Histogram InferenceTime = Sizes("request_inference_time_seconds", "Time from a choice's first iteration to its last.", RequestBuckets);
    private static readonly Histogram RequestPrompt = Sizes("request_prompt_tokens", "Prompt tokens of a request.", TokenBuckets);
    private static readonly Histogram RequestGeneration = Sizes("request_generation_tokens", "Tokens produced for a choice.", TokenBuckets);
    private static readonly Histogram RequestLongest = Sizes("request_max_num_generation_tokens", "Tokens of the longest choice of a request.", TokenBuckets);
    private static readonly Histogram RequestMaxTokens = Sizes("request_params_max_tokens", "Most tokens that a request allows an output.", TokenBuckets);
    private static readonly Histogram RequestN = Sizes("request_params_n", "Choices of a request.", [1, 2, 5, 10, 20]);

    private static readonly Counter Finishes = Metrics.CreateCounter(
        "platform_serving_request_success_total", "Choices that ended, by reason.", ["model_name", "finished_reason"]);

    private static readonly Gauge CacheConfig = Metrics.CreateGauge(
        "platform_serving_cache_config_info", "Sizes of the key/value cache.", ["model_name", "block_size", "num_gpu_blocks", "enable_prefix_caching"]);

    // vLLM's names of the states: ours gives up weights and cache alike.
    private static readonly Gauge SleepState = Metrics.CreateGauge(
        "platform_serving_engine_sleep_state", "1 for the state that the engine is in: awake, or discard_all when it sleeps.", ["model_name", "sleep_state"]);

    private static readonly Histogram WakeSeconds = Metrics.CreateHistogram(
        "platform_serving_wake_seconds", "Time to load a sleeping model again.",
        new HistogramConfiguration { LabelNames = ModelLabel, Buckets = [.025, .05, .1, .2, .4, .8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2] });

    private static readonly Gauge QuantisationError = Metrics.CreateGauge(
        "platform_serving_weight_quantisation_error", "Root mean square error of the weights relative to the exact ones; 0 where they are not quantised.", ModelLabel);

    private readonly string _model;
    private readonly AdapterGauge? _adapters;
    private readonly Histogram.Child _firstToken, _perToken, _duration, _interToken, _iterationTokens;
    private readonly Gauge.Child _running, _waiting, _cacheUsage;
    private readonly Counter.Child _promptTokens, _generationTokens, _preemptions, _prefixQueries, _prefixHits, _drafts, _draftedTokens, _acceptedTokens;
    private IterationScheduler? _scheduler;

    public ServingMetrics(string model, SchedulerLimits limits, double quantisationError, AdapterGauge? adapters = null)
    {
        _model = model;
        _adapters = adapters;
        QuantisationError.WithLabels(model).Set(quantisationError);
        string[] labels = ["text_completion", "platform", model];
        _firstToken = TimeToFirstToken.WithLabels(labels);
        _perToken = TimePerOutputToken.WithLabels(labels);
        _duration = RequestDuration.WithLabels(labels);
        _interToken = InterToken.WithLabels(model);
        _iterationTokens = IterationTokens.WithLabels(model);
        (_running, _waiting, _cacheUsage) = (Running.WithLabels(model), Waiting.WithLabels(model), CacheUsage.WithLabels(model));
        _promptTokens = Published(PromptTokens);
        _generationTokens = Published(GenerationTokens);
        _preemptions = Published(Preemptions);
        _prefixQueries = Published(PrefixQueries);
        _prefixHits = Published(PrefixHits);
        _drafts = Published(Drafts);
        _draftedTokens = Published(DraftedTokens);
        _acceptedTokens = Published(AcceptedTokens);
        foreach (var reason in Enum.GetValues<FinishReason>())
            Finished(reason).Publish();
        ShowSleep(isAsleep: false);
        CacheConfig.WithLabels(model, $"{limits.BlockSize}", $"{limits.BlockCount}", limits.PrefixCaching ? "True" : "False").Set(1);
    }

    /// <summary>vLLM's names for the engine figures, so that dashboards and autoscalers written for it work here.</summary>
    public static MetricAliases VllmNames { get; } = new(Aliased("request_success_total", "cache_config_info", "engine_sleep_state", AdapterGauge.Name), "engine=\"0\"");

    public void Iterated(IterationScheduler scheduler, IterationPlan plan, int produced, EngineSnapshot snapshot, IterationCost cost)
    {
        var prompt = 0;
        foreach (var span in plan.Spans)
            prompt += Math.Clamp(span.Sequence.PromptLength - span.Start, 0, span.Count);

        _promptTokens.Inc(prompt);
        _generationTokens.Inc(produced);
        _iterationTokens.Observe(plan.TokenCount);
        _preemptions.IncTo(scheduler.PreemptionCount);
        _prefixQueries.IncTo(scheduler.PrefixQueriedTokens);
        _prefixHits.IncTo(scheduler.PrefixHitTokens);
        _drafts.IncTo(scheduler.DraftCount);
        _draftedTokens.IncTo(scheduler.DraftedTokens);
        _acceptedTokens.IncTo(scheduler.AcceptedTokens);
        _scheduler = scheduler;
        Idle(snapshot);
    }

    public void Idle(EngineSnapshot snapshot)
    {
        _running.Set(snapshot.Running);
        _waiting.Set(snapshot.Waiting);
        if (_scheduler is { } scheduler)
            _adapters?.Update(scheduler);
        _cacheUsage.Set(1 - ((double)snapshot.BlocksFree / snapshot.BlocksTotal));
    }

    public void Admitted(GenerationRequest request)
    {
        RequestPrompt.WithLabels(_model).Observe(request.Prompt.Length);
        RequestN.WithLabels(_model).Observe(request.Choices);
        RequestMaxTokens.WithLabels(_model).Observe(request.Stop.MaxTokens);
    }

    public void FirstToken(ChoiceTimes times)
    {
        _firstToken.Observe(times.ToFirstToken);
        FirstTokens.WithLabels(_model).Observe(times.ToFirstToken);
    }

    public void NextToken(double seconds) => _interToken.Observe(seconds);

    public void Finished(FinishReason reason, ChoiceTimes times, int tokens)
    {
        Finished(reason).Inc();
        if (reason is FinishReason.Cancelled or FinishReason.Error)
            return;
        _duration.Observe(times.Total);
        EndToEnd.WithLabels(_model).Observe(times.Total);
        QueueTime.WithLabels(_model).Observe(times.Queued);
        PrefillTime.WithLabels(_model).Observe(times.Prefill);
        DecodeTime.WithLabels(_model).Observe(times.Decode);
        InferenceTime.WithLabels(_model).Observe(times.Inference);
        RequestGeneration.WithLabels(_model).Observe(tokens);
        if (tokens > 1)
            _perToken.Observe(times.Decode / (tokens - 1));
    }

    public void Closed(int mostTokens) => RequestLongest.WithLabels(_model).Observe(mostTokens);

    public void Slept() => ShowSleep(isAsleep: true);

    public void Woke(double seconds)
    {
        WakeSeconds.WithLabels(_model).Observe(seconds);
        ShowSleep(isAsleep: false);
    }

    private void ShowSleep(bool isAsleep)
    {
        SleepState.WithLabels(_model, "awake").Set(isAsleep ? 0 : 1);
        SleepState.WithLabels(_model, "discard_all").Set(isAsleep ? 1 : 0);
    }

    private Counter.Child Published(Counter counter)
    {
        var child = counter.WithLabels(_model);
        child.Publish();
        return child;
    }

    private Counter.Child Finished(FinishReason reason) => Finishes.WithLabels(_model, reason.ToString().ToLowerInvariant());

    private static Dictionary<string, string> Aliased(params ReadOnlySpan<string> others)
    {
        foreach (var name in others)
            Alias(name);
        return Aliases;
    }

    private static string[] Alias(string name)
    {
        Aliases.Add($"platform_serving_{name}", $"vllm:{name}");
        return ModelLabel;
    }

    private static Gauge Gauge(string name, string help) => Metrics.CreateGauge($"platform_serving_{name}", help, Alias(name));

    private static Counter Counter(string name, string help) => Metrics.CreateCounter($"platform_serving_{name}", help, Alias(name));

    private static Histogram Sizes(string name, string help, double[] buckets) => Metrics.CreateHistogram(
        $"platform_serving_{name}", help, new HistogramConfiguration { LabelNames = Alias(name), Buckets = buckets });
}
