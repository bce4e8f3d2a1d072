namespace Platform.Core.Models;

/// <summary>
/// The shape of a Llama-family decoder. Property names are Hugging Face's <c>config.json</c> keys in Pascal case;
/// every size is a count of elements.
/// </summary>
public sealed record ModelConfig
{
    /// <summary>Family: <c>llama</c>, <c>mistral</c>, <c>qwen2</c> or <c>qwen3</c>.</summary>
    public required string Architecture { get; init; }

    /// <summary>Rows of the embedding and of the head.</summary>
    public required int VocabSize { get; init; }

    /// <summary>Width of the residual stream.</summary>
    public required int HiddenSize { get; init; }

    /// <summary>Width of the gated MLP.</summary>
    public required int IntermediateSize { get; init; }

    /// <summary>Decoder layers.</summary>
    public required int NumHiddenLayers { get; init; }

    /// <summary>Query heads.</summary>
    public required int NumAttentionHeads { get; init; }

    /// <summary>Key and value heads; divides <see cref="NumAttentionHeads"/>.</summary>
    public required int NumKeyValueHeads { get; init; }

    /// <summary>Elements per head; <c>HiddenSize / NumAttentionHeads</c> unless the model says otherwise.</summary>
    public required int HeadDim { get; init; }

    /// <summary>Longest context in tokens.</summary>
    public required int MaxPositionEmbeddings { get; init; }

    /// <summary>Epsilon of every RMS norm.</summary>
    public double RmsNormEps { get; init; } = 1e-5;

    /// <summary>Base of the rotary frequencies.</summary>
    public double RopeTheta { get; init; } = 10_000;

    /// <summary>Rescaling of the rotary frequencies; null for none.</summary>
    public RopeScaling? RopeScaling { get; init; }

    /// <summary>The head uses the embedding's weights.</summary>
    public bool TieWordEmbeddings { get; init; }

    /// <summary>Query, key and value projections have biases (Qwen2).</summary>
    public bool AttentionBias { get; init; }

    /// <summary>Queries and keys are RMS-normalised per head before rotation (Qwen3).</summary>
    public bool QkNorm { get; init; }

    /// <summary>Token that begins a text, if the model has one.</summary>
    public int? BosTokenId { get; init; }

    /// <summary>Tokens that end a text.</summary>
    public IReadOnlyList<int> EosTokenIds { get; init; } = [];

    /// <summary>Query heads that share one key/value head.</summary>
    public int HeadsPerKeyValueHead => NumAttentionHeads / NumKeyValueHeads;

    /// <summary>Number of weights, biases included; tied weights are counted once.</summary>
    public long ParameterCount
    {
        get
        {
            long embedding = (long)VocabSize * HiddenSize;
            long query = (long)NumAttentionHeads * HeadDim, keyValue = (long)NumKeyValueHeads * HeadDim;
            long layer = HiddenSize * (query + (2 * keyValue)) + (query * HiddenSize)
                + (3L * HiddenSize * IntermediateSize) + (2L * HiddenSize)
                + (AttentionBias ? query + (2 * keyValue) : 0)
                + (QkNorm ? 2L * HeadDim : 0);
            return embedding + (TieWordEmbeddings ? 0 : embedding) + (layer * NumHiddenLayers) + HiddenSize;
        }
    }
}

/// <summary>Rescaling of rotary frequencies as Hugging Face's <c>rope_scaling</c> object defines it.</summary>
/// <param name="Type"><c>linear</c>, <c>dynamic</c>, <c>llama3</c> or <c>yarn</c>.</param>
/// <param name="Factor">How many times longer the context became.</param>
/// <param name="LowFreqFactor">llama3: wavelengths above <c>original / LowFreqFactor</c> are fully rescaled.</param>
/// <param name="HighFreqFactor">llama3: wavelengths below <c>original / HighFreqFactor</c> are kept.</param>
/// <param name="OriginalMaxPositionEmbeddings">llama3, yarn: context length before rescaling.</param>
/// <param name="BetaFast">yarn: frequencies that turn more often than this within the original context are kept.</param>
/// <param name="BetaSlow">yarn: frequencies that turn less often than this within it are fully rescaled.</param>
/// <param name="Truncate">yarn: bounds of the range between are rounded outwards to whole dimensions.</param>
/// <param name="AttentionFactor">yarn: what the tables are multiplied by; null for <c>0.1·ln(factor) + 1</c>.</param>
public sealed record RopeScaling(
    string Type, double Factor, double LowFreqFactor = 1, double HighFreqFactor = 4, int OriginalMaxPositionEmbeddings = 8192,
    double BetaFast = 32, double BetaSlow = 1, bool Truncate = true, double? AttentionFactor = null);
