namespace Platform.Serving.Core.Sampling;

/// <summary>How one request's tokens are chosen. All values are within the ranges given here.</summary>
public sealed record SamplingSettings
{
    /// <summary>Divides the logits; 0 takes the most likely token.</summary>
    public double Temperature { get; init; } = 1;

    /// <summary>Keep this many of the most likely tokens; null keeps all.</summary>
    public int? TopK { get; init; }

    /// <summary>Keep the smallest set of most likely tokens that has this mass, (0, 1].</summary>
    public double TopP { get; init; } = 1;

    /// <summary>Keep tokens at least this likely relative to the most likely one, [0, 1].</summary>
    public double MinP { get; init; }

    /// <summary>Divides positive and multiplies negative logits of tokens in prompt or output; positive, 1 for none (Keskar et al. 2019).</summary>
    public double RepetitionPenalty { get; init; } = 1;

    /// <summary>Subtracted from the logits of tokens in the output.</summary>
    public double PresencePenalty { get; init; }

    /// <summary>Subtracted from a token's logit once for every time it is in the output.</summary>
    public double FrequencyPenalty { get; init; }

    /// <summary>Added to the logits of these tokens.</summary>
    public IReadOnlyDictionary<int, float> LogitBias { get; init; } = new Dictionary<int, float>();

    /// <summary>Seed of the draws.</summary>
    public long Seed { get; init; }

    /// <summary>Report the log probability of each token and of this many most likely ones; null for none.</summary>
    public int? TopLogprobs { get; init; }

    internal bool ChangesLogits => LogitBias.Count > 0 || RepetitionPenalty != 1 || PresencePenalty != 0 || FrequencyPenalty != 0;
}

/// <summary>Log probabilities around one token, under the model's own distribution (before penalties and temperature).</summary>
/// <param name="Logprob">Of the chosen token, in nats.</param>
/// <param name="TopIds">Most likely tokens, best first; the lower id first among equals.</param>
/// <param name="TopLogprobs">Their log probabilities.</param>
public sealed record TokenLogprobs(float Logprob, IReadOnlyList<int> TopIds, IReadOnlyList<float> TopLogprobs);

/// <summary>A chosen token.</summary>
/// <param name="TokenId">The token.</param>
/// <param name="Logprobs">Log probabilities, if they were asked for.</param>
public readonly record struct Sample(int TokenId, TokenLogprobs? Logprobs);
