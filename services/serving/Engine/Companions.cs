using Platform.Core.Models;
using Platform.Core.Validation;
using Platform.Formats;
using Platform.Formats.HuggingFace;
using Platform.Formats.Peft;
using Platform.Serving.Execution;
using Platform.Serving.Execution.Adapters;
using Platform.Serving.Execution.Sharding;
using Platform.Text.Tokenization;

namespace Platform.Serving.Engine;

/// <summary>An adapter that an executor holds.</summary>
/// <param name="Name">Name that requests use.</param>
/// <param name="Rank">Rank of its factors.</param>
/// <param name="ByteLength">Bytes of its factors in memory.</param>
internal sealed record LoadedAdapter(string Name, int Rank, long ByteLength);

/// <summary>Reads what a replica runs beside its model: adapters, and the model that guesses. All that is wrong is reported.</summary>
internal static class Companions
{
    private const int MostReasons = 5;

    /// <summary>Loads the adapters of the settings, or a rank's share of them, number 1 first.</summary>
    /// <exception cref="ModelFormatException">A file is damaged or not supported.</exception>
    /// <exception cref="ReplicaSettingsException">An adapter does not fit the model.</exception>
    public static (List<AdapterWeights<T>> Weights, List<LoadedAdapter> Adapters) LoadAdapters<T>(
        ReplicaSettings settings, ModelConfig model, TensorShard shard, ComputeLanes lanes)
        where T : unmanaged, IElement<T>
    {
        var options = settings.Engine.Lora ?? new();
        var violations = new List<Violation>();
        if (settings.Adapters.Count > options.MaxLoras)
            violations.Add(new("engine_config.lora.max_loras", $"Found {settings.Adapters.Count} adapters; {options.MaxLoras} are allowed."));
        var weights = new List<AdapterWeights<T>>();
        var adapters = new List<LoadedAdapter>();
        try
        {
            for (var i = 0; i < settings.Adapters.Count; i++)
            {
                var (name, directory) = settings.Adapters[i];
                var field = $"engine_config.lora.adapters[{i}]";
                if (name == settings.Model || adapters.Any(other => other.Name == name))
                    violations.Add(new($"{field}.name", $"'{name}' is the name of the model or of another adapter."));
                using var adapter = LoraAdapterDirectory.Open(directory);
                var reasons = adapter.Validate(model, options.MaxLoraRank);
                if (reasons.Count > 0)
                    violations.Add(new(field, $"{directory} does not fit the model: {First(reasons)}"));
                if (violations.Count > 0)
                    continue;
                weights.Add(AdapterWeights<T>.Load(name, model, shard, adapter, lanes));
                adapters.Add(new(name, adapter.Rank, weights[^1].ByteLength));
            }

            return violations.Count == 0 ? (weights, adapters) : throw new ReplicaSettingsException(violations);
        }
        catch
        {
            weights.ForEach(adapter => adapter.Dispose());
            throw;
        }
    }

    /// <summary>Opens the model that guesses; null when the settings name none.</summary>
    /// <exception cref="ModelFormatException">A file is damaged or not supported.</exception>
    /// <exception cref="ReplicaSettingsException">Its tokens are not those of the served model.</exception>
    public static HuggingFaceModelDirectory? OpenDraft(ReplicaSettings settings, ModelConfig model, ITextTokenizer tokenizer)
    {
        if (settings.DraftDirectory is not { } path)
            return null;
        var draft = HuggingFaceModelDirectory.Open(path);
        try
        {
            if (draft.Validate() is { Count: > 0 } violations)
                throw new ModelFormatException(path, "", First(violations));
            if (Difference(draft.Config.Model, TokenizerDirectory.Open(path).Tokenizer, model, tokenizer) is { } difference)
                throw new ReplicaSettingsException([new("engine_config.speculative_config.model",
                    $"{path} cannot guess for {settings.ModelDirectory}: {difference}. The draft model needs the vocabulary of the model it guesses for.")]);
            return draft;
        }
        catch
        {
            draft.Dispose();
            throw;
        }
    }

    private static string? Difference(ModelConfig draft, ITextTokenizer draftTokenizer, ModelConfig model, ITextTokenizer tokenizer)
    {
        if (draft.VocabSize != model.VocabSize)
            return $"its vocab_size is {draft.VocabSize}, the model's {model.VocabSize}";
        for (var id = 0; id < Math.Max(draftTokenizer.VocabularySize, tokenizer.VocabularySize); id++)
        {
            if (draftTokenizer.IsSpecial(id) != tokenizer.IsSpecial(id) || !draftTokenizer.TokenBytes(id).SequenceEqual(tokenizer.TokenBytes(id)))
                return $"token {id} is another one in its tokenizer";
        }

        return null;
    }

    private static string First(IReadOnlyList<Violation> violations) =>
        string.Join(" ", violations.Take(MostReasons)) + (violations.Count > MostReasons ? $" And {violations.Count - MostReasons} more." : "");
}
