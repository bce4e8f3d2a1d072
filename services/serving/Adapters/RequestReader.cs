using System.Security.Cryptography;
using Platform.Core.Deployments;
using Platform.Core.Validation;
using Platform.Hosting.Errors;
using Platform.Internal.V1;
using Platform.Serving.Core.Constraints;
using Platform.Serving.Core.Output;
using Platform.Serving.Core.Sampling;
using Platform.Serving.Core.Scheduling;
using Platform.Serving.Engine;
using Platform.V1;

namespace Platform.Serving.Adapters;

/// <summary>Checks a request and completes it with the deployment's and the platform's defaults.</summary>
internal sealed class RequestReader(
    int vocabularySize, SchedulerLimits limits, GenerationOptions defaults, IReadOnlySet<int> endTokens, ConstraintCompiler constraints,
    IReadOnlyList<string> adapters)
{
    private const int MaxStops = 16;
    private const int MostInputs = 256;
    private const int MaxTopLogprobs = 20;

    /// <summary>Reads a request.</summary>
    /// <exception cref="InvalidRequestException">Something is wrong with it; all of it is reported.</exception>
    public GenerationRequest Read(EngineGenerateRequest request)
    {
        var sampling = request.Sampling ?? new SamplingParams();
        var violations = new List<Violation>();
        CheckTokens(request, violations);
        CheckSampling(sampling, violations);
        var choices = sampling.HasN ? sampling.N : 1;
        if (choices < 1 || choices > limits.MaxSequences)
            violations.Add(new("sampling.n", $"Found {choices}; from 1 to {limits.MaxSequences} choices are possible here."));
        if (choices > 1 && request.ProducedTokens.Count > 0)
            violations.Add(new("produced_tokens", "Only a request with one choice can be continued."));
        var constraint = Constraint(sampling, violations);
        var adapter = Adapter(request.Adapter);
        if (violations.Count > 0)
            throw new InvalidRequestException(violations);
        return new GenerationRequest
        {
            Constraint = constraint,
            Adapter = adapter,
            Tenant = request.Tenant,
            Prompt = [.. request.PromptTokens],
            Produced = [.. request.ProducedTokens],
            Choices = choices,
            Sampling = Settings(sampling),
            Stop = Stops(sampling, request.PromptTokens.Count),
        };
    }

    /// <summary>Requests for the logits after prompts.</summary>
    public IReadOnlyList<GenerationRequest> ReadLogits(LogitsRequest request)
    {
        var adapter = Adapter(request.Adapter);
        return [.. request.Prompts.Select((prompt, i) => ReadPrompt(prompt, $"prompts[{i}]") with { WantsLogits = true, Adapter = adapter })];
    }

    /// <summary>Requests for the embeddings of inputs.</summary>
    public IReadOnlyList<GenerationRequest> ReadEmbed(EngineEmbedRequest request)
    {
        Pooling? pooling = request.Pooling switch
        {
            "" or "mean" => Pooling.Mean,
            "last" => Pooling.Last,
            _ => null,
        };
        if (pooling is null)
            throw new InvalidRequestException("pooling", $"Found '{request.Pooling}'; mean and last are available.");
        if (request.Inputs.Count is < 1 or > MostInputs)
            throw new InvalidRequestException("input", $"Found {request.Inputs.Count} inputs; from 1 to {MostInputs} are allowed.");
        var adapter = Adapter(request.Adapter);
        return [.. request.Inputs.Select((input, i) =>
            ReadPrompt(input, $"inputs[{i}]") with { Embedding = pooling, Tenant = request.Tenant, Adapter = adapter })];
    }

    /// <summary>Number of an adapter; 0 for the model itself.</summary>
    private int Adapter(string name)
    {
        if (name.Length == 0)
            return 0;
        for (var i = 0; i < adapters.Count; i++)
        {
            if (adapters[i] == name)
                return i + 1;
        }

        throw new NotFoundException($"adapter '{name}' on this replica, which has {(adapters.Count == 0 ? "none" : string.Join(", ", adapters))}");
    }

    private GenerationRequest ReadPrompt(Prompt prompt, string field)
    {
        var violations = new List<Violation>();
        CheckIds(prompt.TokenIds, $"{field}.token_ids", violations);
        if (prompt.TokenIds.Count == 0)
            violations.Add(new($"{field}.token_ids", "At least one token is needed."));
        if (violations.Count > 0)
            throw new InvalidRequestException(violations);
        return new GenerationRequest
        {
            Tenant = "",
            Prompt = [.. prompt.TokenIds],
            Sampling = new SamplingSettings { Temperature = 0 },
            Stop = new StopConditions(new HashSet<int>(), 1, []),
        };
    }

    private TokenConstraint? Constraint(SamplingParams sampling, List<Violation> violations)
    {
        var field = sampling.JsonSchema.Length > 0 ? "sampling.json_schema" : "sampling.regex";
        try
        {
            if (sampling.JsonSchema.Length > 0 && sampling.Regex.Length > 0)
                violations.Add(new("sampling.regex", "Give json_schema or regex, not both."));
            else if (sampling.JsonSchema.Length > 0)
                return constraints.OfSchema(sampling.JsonSchema);
            else if (sampling.Regex.Length > 0)
                return constraints.OfRegex(sampling.Regex);
        }
        catch (ConstraintException exception)
        {
            violations.Add(new(field, exception.Message));
        }

        return null;
    }

    private void CheckTokens(EngineGenerateRequest request, List<Violation> violations)
    {
        if (request.PromptTokens.Count == 0)
            violations.Add(new("prompt_tokens", "At least one token is needed."));
        CheckIds(request.PromptTokens, "prompt_tokens", violations);
        CheckIds(request.ProducedTokens, "produced_tokens", violations);
    }

    private void CheckIds(IEnumerable<int> ids, string field, List<Violation> violations)
    {
        foreach (var id in ids)
        {
            if (id >= 0 && id < vocabularySize)
                continue;
            violations.Add(new(field, $"Token {id} is not in the model's vocabulary of {vocabularySize}."));
            return;
        }
    }

    private void CheckSampling(SamplingParams s, List<Violation> violations)
    {
        Require(!s.HasMaxTokens || s.MaxTokens >= 1, "max_tokens", $"Found {s.MaxTokens}; at least 1 is needed.");
        Require(!s.HasTemperature || (s.Temperature >= 0 && s.Temperature <= 100), "temperature", $"Found {s.Temperature}; from 0 to 100 is allowed.");
        Require(!s.HasTopK || s.TopK >= 0, "top_k", $"Found {s.TopK}; 0 keeps all tokens, else a positive number is expected.");
        Require(!s.HasTopP || (s.TopP > 0 && s.TopP <= 1), "top_p", $"Found {s.TopP}; above 0 and up to 1 is allowed.");
        Require(!s.HasMinP || (s.MinP >= 0 && s.MinP <= 1), "min_p", $"Found {s.MinP}; from 0 to 1 is allowed.");
        Require(
            !s.HasRepetitionPenalty || (s.RepetitionPenalty > 0 && s.RepetitionPenalty <= 100), "repetition_penalty",
            $"Found {s.RepetitionPenalty}; above 0 and up to 100 is allowed.");
        Require(!s.HasPresencePenalty || Math.Abs(s.PresencePenalty) <= 2, "presence_penalty", $"Found {s.PresencePenalty}; from -2 to 2 is allowed.");
        Require(!s.HasFrequencyPenalty || Math.Abs(s.FrequencyPenalty) <= 2, "frequency_penalty", $"Found {s.FrequencyPenalty}; from -2 to 2 is allowed.");
        Require(
            !s.HasLogprobs || (s.Logprobs >= 0 && s.Logprobs <= Math.Min(MaxTopLogprobs, vocabularySize)), "logprobs",
            $"Found {s.Logprobs}; from 0 to {MaxTopLogprobs} is allowed.");
        Require(s.Stop.Count <= MaxStops, "stop", $"Found {s.Stop.Count} stop strings; at most {MaxStops} are allowed.");
        Require(s.Stop.All(stop => stop.Length > 0), "stop", "A stop string is empty.");
        CheckIds(s.StopTokenIds, "sampling.stop_token_ids", violations);
        CheckIds(s.LogitBias.Keys, "sampling.logit_bias", violations);
        Require(s.LogitBias.Values.All(bias => Math.Abs(bias) <= 100), "logit_bias", "Values from -100 to 100 are allowed.");

        void Require(bool holds, string field, string message)
        {
            if (!holds)
                violations.Add(new($"sampling.{field}", message));
        }
    }

    private SamplingSettings Settings(SamplingParams s)
    {
        var topK = s.HasTopK ? s.TopK : defaults.TopK ?? 0;
        return new SamplingSettings
        {
            Temperature = s.HasTemperature ? s.Temperature : defaults.Temperature ?? 1,
            TopK = topK > 0 ? topK : null,
            TopP = s.HasTopP ? s.TopP : defaults.TopP ?? 1,
            MinP = s.HasMinP ? s.MinP : 0,
            RepetitionPenalty = s.HasRepetitionPenalty ? s.RepetitionPenalty : 1,
            PresencePenalty = s.HasPresencePenalty ? s.PresencePenalty : 0,
            FrequencyPenalty = s.HasFrequencyPenalty ? s.FrequencyPenalty : 0,
            LogitBias = s.LogitBias.ToDictionary(),
            Seed = s.HasSeed ? s.Seed : BitConverter.ToInt64(RandomNumberGenerator.GetBytes(sizeof(long))),
            TopLogprobs = s.HasLogprobs ? s.Logprobs : null,
        };
    }

    private StopConditions Stops(SamplingParams s, int promptLength)
    {
        var tokens = s.IgnoreEos ? [] : endTokens.ToHashSet();
        tokens.UnionWith(s.StopTokenIds);
        // An output that nobody limited may be as long as prompt and limits leave room for.
        var room = Math.Max(1, limits.LongestSequence - promptLength);
        var most = s.HasMaxTokens ? s.MaxTokens : Math.Min(room, defaults.MaxTokens ?? room);
        return new StopConditions(tokens, most, [.. s.Stop, .. defaults.Stop]);
    }
}
