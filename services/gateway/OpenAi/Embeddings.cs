using System.Runtime.InteropServices;
using System.Text.Json;
using Platform.Core.Validation;
using Platform.Gateway.Inference;
using Platform.Hosting.Errors;

namespace Platform.Gateway.OpenAi;

/// <summary>Body of <c>POST /v1/embeddings</c>.</summary>
public sealed record EmbeddingRequest
{
    /// <summary>Deployment id.</summary>
    public string? Model { get; init; }

    /// <summary>A string, token ids, or an array of either.</summary>
    public JsonElement? Input { get; init; }

    /// <summary><c>float</c> or <c>base64</c> (little-endian fp32).</summary>
    public string? EncodingFormat { get; init; }

    /// <summary><c>mean</c> (the default) or <c>last</c>; an extension.</summary>
    public string? Pooling { get; init; }

    /// <summary>Identity of the end user; accepted and not used.</summary>
    public string? User { get; init; }
}

/// <summary>One embedding.</summary>
/// <param name="Object"><c>embedding</c>.</param>
/// <param name="Index">Index of its input.</param>
/// <param name="Embedding">Numbers, or base64 text.</param>
public sealed record EmbeddingItem(string Object, int Index, object Embedding);

/// <summary>Tokens that were counted.</summary>
/// <param name="PromptTokens">Of the inputs.</param>
/// <param name="TotalTokens">The same.</param>
public sealed record EmbeddingUsage(int PromptTokens, int TotalTokens);

/// <summary>Answer of <c>POST /v1/embeddings</c>.</summary>
/// <param name="Object"><c>list</c>.</param>
/// <param name="Data">One per input.</param>
/// <param name="Model">Deployment id.</param>
/// <param name="Usage">Tokens.</param>
public sealed record EmbeddingList(string Object, IReadOnlyList<EmbeddingItem> Data, string Model, EmbeddingUsage Usage);

/// <summary><c>POST /v1/embeddings</c>: vectors of length 1 from a model's hidden states.</summary>
public sealed class Embeddings(InferencePipeline pipeline)
{
    /// <summary>Answers a request.</summary>
    /// <exception cref="InvalidRequestException">Everything that is wrong with it.</exception>
    public async Task<EmbeddingList> AnswerAsync(EmbeddingRequest request, string tenant, CancellationToken cancellation)
    {
        var violations = new List<Violation>();
        if (request.EncodingFormat is not (null or "float" or "base64"))
            violations.Add(new Violation("encoding_format", $"Found '{request.EncodingFormat}'; allowed are float and base64."));
        if (request.Pooling is not (null or "mean" or "last"))
            violations.Add(new Violation("pooling", $"Found '{request.Pooling}'; allowed are mean and last."));
        var inputs = Completions.ReadPrompts(request.Input, "input", violations);
        if (violations.Count > 0)
            throw new InvalidRequestException(violations);
        var model = pipeline.Find(request.Model);
        IReadOnlyList<int>[] tokens = [.. inputs.Select(input => input.Tokens ?? model.EncodePrompt(input.Text ?? ""))];
        var answer = await pipeline.EmbedAsync(model, tokens, request.Pooling ?? "", tenant, cancellation);
        var items = answer.Embeddings.Select((embedding, i) =>
        {
            float[] values = [.. embedding.Values];
            return new EmbeddingItem(
                "embedding", i, request.EncodingFormat == "base64" ? Convert.ToBase64String(MemoryMarshal.AsBytes<float>(values)) : values);
        });
        return new EmbeddingList(
            "list", [.. items], model.Name, new EmbeddingUsage(answer.Usage.PromptTokens, answer.Usage.PromptTokens));
    }
}
