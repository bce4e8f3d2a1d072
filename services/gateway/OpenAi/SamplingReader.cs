using System.Globalization;
using System.Text.Json;
using Platform.Core.Validation;
using Platform.V1;

namespace Platform.Gateway.OpenAi;

/// <summary>Reads what a request says about sampling, checks it, and collects all that is wrong.</summary>
public static class SamplingReader
{
    /// <summary>Most stop strings in a request.</summary>
    public const int MaxStopStrings = 8;

    /// <summary>Most choices in a request.</summary>
    public const int MaxChoices = 16;

    /// <summary>Reads the shared fields.</summary>
    /// <param name="request">The request.</param>
    /// <param name="violations">Receives what is wrong.</param>
    public static SamplingParams Read(SamplingRequest request, List<Violation> violations)
    {
        var sampling = new SamplingParams { IgnoreEos = request.IgnoreEos };
        if (Within(request.MaxTokens, 1, int.MaxValue, "max_tokens", violations) is { } maxTokens)
            sampling.MaxTokens = maxTokens;
        if (Within(request.Temperature, 0, 2, "temperature", violations) is { } temperature)
            sampling.Temperature = temperature;
        if (Within(request.TopP, 0, 1, "top_p", violations) is { } topP)
            sampling.TopP = topP;
        if (Within(request.TopK, -1, int.MaxValue, "top_k", violations) is { } topK and > 0)
            sampling.TopK = topK;
        if (Within(request.MinP, 0, 1, "min_p", violations) is { } minP)
            sampling.MinP = minP;
        if (Within(request.PresencePenalty, -2, 2, "presence_penalty", violations) is { } presence)
            sampling.PresencePenalty = presence;
        if (Within(request.FrequencyPenalty, -2, 2, "frequency_penalty", violations) is { } frequency)
            sampling.FrequencyPenalty = frequency;
        if (Within(request.RepetitionPenalty, 0.01, 10, "repetition_penalty", violations) is { } repetition)
            sampling.RepetitionPenalty = repetition;
        if (Within(request.N, 1, MaxChoices, "n", violations) is { } choices)
            sampling.N = choices;
        if (request.Seed is { } seed)
            sampling.Seed = seed;
        sampling.Stop.AddRange(ReadStop(request.Stop, violations));
        foreach (var (id, bias) in request.LogitBias ?? new Dictionary<string, double>())
        {
            if (!int.TryParse(id, NumberStyles.None, CultureInfo.InvariantCulture, out int token))
                violations.Add(new Violation($"logit_bias.{id}", "The keys are token ids: whole numbers from 0."));
            else if (bias is < -100 or > 100)
                violations.Add(new Violation($"logit_bias.{id}", $"Found {bias}; allowed are -100 to 100."));
            else
                sampling.LogitBias[token] = (float)bias;
        }
        ConstraintReader.Read(request, sampling, violations);
        return sampling;
    }

    /// <summary>Checks that a number lies within bounds.</summary>
    public static T? Within<T>(T? value, T lowest, T highest, string field, List<Violation> violations)
        where T : struct, IComparable<T>
    {
        if (value is not { } found)
            return null;
        if (found.CompareTo(lowest) >= 0 && found.CompareTo(highest) <= 0)
            return found;
        string allowed = highest is int.MaxValue ? $"{lowest} or more" : $"{lowest} to {highest}";
        violations.Add(new Violation(field, $"Found {found}; allowed are {allowed}."));
        return null;
    }

    private static List<string> ReadStop(JsonElement? stop, List<Violation> violations)
    {
        switch (stop)
        {
            case null or { ValueKind: JsonValueKind.Null }:
                return [];
            case { ValueKind: JsonValueKind.String } one:
                return one.GetString() is { Length: > 0 } text ? [text] : [];
            case { ValueKind: JsonValueKind.Array } many
                when many.GetArrayLength() <= MaxStopStrings && many.EnumerateArray().All(item => item.ValueKind == JsonValueKind.String):
                return [.. many.EnumerateArray().Select(item => item.GetString() ?? "").Where(text => text.Length > 0)];
            default:
                violations.Add(new Violation("stop", $"Expected a string or an array of at most {MaxStopStrings} strings."));
                return [];
        }
    }
}
