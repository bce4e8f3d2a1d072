using Platform.Gateway.Inference;
using Platform.Internal.V1;
using Platform.V1;

namespace Platform.Gateway.OpenAi;

/// <summary>One request of either kind, read and tokenized: what to run and how to answer.</summary>
/// <param name="Model">The model.</param>
/// <param name="Prompts">One or more prompts; each has its own choices.</param>
/// <param name="Sampling">With defaults filled in.</param>
/// <param name="Stream">Answer with events.</param>
/// <param name="IncludeUsage">In a stream: a last chunk with the token counts.</param>
/// <param name="Tenant">Who asks.</param>
public sealed record CompletionCall(
    ServedModel Model,
    IReadOnlyList<IReadOnlyList<int>> Prompts,
    SamplingParams Sampling,
    bool Stream,
    bool IncludeUsage,
    string Tenant)
{
    /// <summary>Choices per prompt.</summary>
    public int ChoicesPerPrompt => Sampling.HasN ? Sampling.N : 1;
}

/// <summary>A piece of one choice's text.</summary>
/// <param name="Choice">Index over all prompts' choices.</param>
/// <param name="Text">What is added; may be empty.</param>
/// <param name="FinishReason">stop or length with the choice's last piece.</param>
public sealed record ChoiceDelta(int Choice, string Text, string? FinishReason);

/// <summary>Runs calls and adds up what they used.</summary>
public sealed class CompletionRun(InferencePipeline pipeline, CompletionCall call)
{
    private int _promptTokens;
    private int _completionTokens;
    private int _cachedTokens;

    /// <summary>What was used so far; complete once the deltas ended.</summary>
    public CompletionUsage Usage => new(
        _promptTokens, _completionTokens, _promptTokens + _completionTokens, new PromptTokensDetails(_cachedTokens));

    /// <summary>The pieces of all choices, prompts one after another.</summary>
    public async IAsyncEnumerable<ChoiceDelta> DeltasAsync(
        [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellation)
    {
        for (int i = 0; i < call.Prompts.Count; i++)
        {
            await foreach (var response in pipeline.GenerateAsync(call.Model, call.Prompts[i], call.Sampling, call.Tenant, cancellation))
            {
                Count(response);
                string? reason = response.FinishReason.Length == 0 ? null : response.FinishReason;
                if (response.Text.Length > 0 || reason is not null)
                    yield return new ChoiceDelta((i * call.ChoicesPerPrompt) + response.Choice, response.Text, reason);
            }
        }
    }

    private void Count(EngineGenerateResponse response)
    {
        if (response.Usage is not { } usage)
            return;
        _promptTokens += usage.PromptTokens;
        _completionTokens += usage.CompletionTokens;
        _cachedTokens += usage.CachedPromptTokens;
    }
}
