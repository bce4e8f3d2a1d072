using System.Diagnostics;
using Platform.Internal.V1;
using Usage = Platform.V1.Usage;

namespace Platform.Serving.Adapters;

/// <summary>
/// One span per request with the attributes of OpenTelemetry's GenAI conventions. Prompt and output are never recorded.
/// </summary>
internal static class RequestActivity
{
    private const string Operation = "text_completion";

    /// <summary>Source of the replica's spans.</summary>
    public static readonly ActivitySource Source = new("Platform.Serving");

    public static Activity? Start(string model, EngineGenerateRequest request)
    {
        var activity = Source.StartActivity($"{Operation} {model}");
        if (activity is null)
            return null;
        activity.SetTag("gen_ai.operation.name", Operation);
        activity.SetTag("gen_ai.provider.name", "platform");
        activity.SetTag("gen_ai.request.model", model);
        activity.SetTag("platform.request.id", request.RequestId);
        if (request.Sampling is { } sampling)
        {
            Set("gen_ai.request.max_tokens", sampling.HasMaxTokens, sampling.MaxTokens);
            Set("gen_ai.request.temperature", sampling.HasTemperature, sampling.Temperature);
            Set("gen_ai.request.top_p", sampling.HasTopP, sampling.TopP);
            Set("gen_ai.request.top_k", sampling.HasTopK, sampling.TopK);
            Set("gen_ai.request.seed", sampling.HasSeed, sampling.Seed);
            Set("gen_ai.request.choice.count", sampling.HasN, sampling.N);
        }

        return activity;

        void Set<T>(string name, bool present, T value)
        {
            if (present)
                activity.SetTag(name, value);
        }
    }

    public static void Finish(Activity? activity, Usage usage, string[] reasons)
    {
        activity?.SetTag("gen_ai.usage.input_tokens", usage.PromptTokens);
        activity?.SetTag("gen_ai.usage.output_tokens", usage.CompletionTokens);
        activity?.SetTag("gen_ai.response.finish_reasons", reasons);
    }
}
