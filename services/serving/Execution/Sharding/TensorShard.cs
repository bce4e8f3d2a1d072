using Platform.Core.Models;

namespace Platform.Serving.Execution.Sharding;

/// <summary>Consecutive heads, units or tokens.</summary>
/// <param name="First">First of them.</param>
/// <param name="Count">How many.</param>
internal readonly record struct ShardRange(int First, int Count)
{
    /// <summary>Whether it has this one.</summary>
    public bool Contains(int index) => (uint)(index - First) < (uint)Count;

    /// <summary>The range when each has so many elements.</summary>
    public ShardRange Of(int elements) => new(First * elements, Count * elements);
}

/// <summary>
/// Which part of a model one rank of a tensor-parallel group computes (Shoeybi et al. 2019, section 3): heads of attention,
/// units of the gated MLP and tokens of embedding and head are divided, norms and the residual stream are on every rank.
/// Where there are fewer key/value heads than ranks, neighbouring ranks hold the same one.
/// </summary>
/// <param name="Rank">Place in the group.</param>
/// <param name="Width">Size of the group.</param>
internal sealed record TensorShard(int Rank, int Width)
{
    // Shares of the vocabulary are whole panels, so that a rank's logits can lie where they belong in the rows of all.
    private const int Panel = 32;

    /// <summary>All of a model.</summary>
    public static TensorShard Whole { get; } = new(0, 1);

    /// <summary>Why a model cannot be divided so; null when it can.</summary>
    public static string? Refusal(ModelConfig config, int width)
    {
        if (config.NumAttentionHeads % width != 0)
            return $"Found {width}; it must divide the model's {config.NumAttentionHeads} attention heads.";
        if (config.NumKeyValueHeads % width != 0 && width % config.NumKeyValueHeads != 0)
            return $"Found {width}; it must divide the model's {config.NumKeyValueHeads} key/value heads or be a multiple of them.";
        return config.IntermediateSize < width ? $"Found {width}; the model's MLP has only {config.IntermediateSize} units." : null;
    }

    /// <summary>Query heads of this rank.</summary>
    public ShardRange Queries(ModelConfig config) => Even(config.NumAttentionHeads);

    /// <summary>Key/value heads of this rank: those that its query heads read.</summary>
    public ShardRange KeyValues(ModelConfig config) =>
        config.NumKeyValueHeads >= Width ? Even(config.NumKeyValueHeads) : new((int)((long)Rank * config.NumKeyValueHeads / Width), 1);

    /// <summary>Units of the MLP of this rank.</summary>
    public ShardRange Intermediate(ModelConfig config) => Even(config.IntermediateSize);

    /// <summary>Tokens whose embedding and logits are this rank's; the last ranks' shares may be smaller, or empty.</summary>
    public ShardRange Vocabulary(ModelConfig config)
    {
        var share = (((config.VocabSize + Width - 1) / Width) + Panel - 1) / Panel * Panel;
        var first = Width == 1 ? 0 : Math.Min(Rank * share, (config.VocabSize + Panel - 1) / Panel * Panel);
        return new(first, Math.Max(0, Math.Min(share, config.VocabSize - first)));
    }

    /// <summary>The shape of what this rank computes between embedding and head.</summary>
    public ModelConfig Of(ModelConfig config) => Width == 1 ? config : config with
    {
        NumAttentionHeads = Queries(config).Count,
        NumKeyValueHeads = KeyValues(config).Count,
        IntermediateSize = Intermediate(config).Count,
    };

    private ShardRange Even(int count)
    {
        var first = (int)((long)count * Rank / Width);
        return new(first, (int)((long)count * (Rank + 1) / Width) - first);
    }
}
