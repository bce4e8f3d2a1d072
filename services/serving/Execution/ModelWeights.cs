using Platform.Core.Models;
using Platform.Torch;
using Platform.Torch.Models.Llama;
using TorchSharp;
using ScalarType = TorchSharp.torch.ScalarType;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Serving.Execution;

/// <summary>The weights of one layer: matrices [outputs, inputs] in the model's type, small vectors in fp32.</summary>
/// <param name="InputNorm">[E].</param>
/// <param name="QueryKeyValue">Query, key and value projections, one below the other.</param>
/// <param name="QueryKeyValueBias">Their biases in the same order, if the model has them.</param>
/// <param name="QueryNorm">Per-head norm of queries, [D], if the model has it.</param>
/// <param name="KeyNorm">Per-head norm of keys, [D], if the model has it.</param>
/// <param name="AttentionOutput">[E, heads · D].</param>
/// <param name="PostAttentionNorm">[E].</param>
/// <param name="GateUp">Gate and up projections, one below the other.</param>
/// <param name="Down">[E, intermediate].</param>
internal sealed record LayerWeights(
    Tensor InputNorm, Tensor QueryKeyValue, Tensor? QueryKeyValueBias, Tensor? QueryNorm, Tensor? KeyNorm, Tensor AttentionOutput,
    Tensor PostAttentionNorm, Tensor GateUp, Tensor Down);

/// <summary>All weights of a model, packed for serving. Owns its tensors.</summary>
internal sealed class ModelWeights : IDisposable
{
    private readonly List<Tensor> _owned = [];

    private ModelWeights(ModelConfig config) => Config = config;

    public ModelConfig Config { get; }

    public required Tensor Embedding { get; init; }

    public required IReadOnlyList<LayerWeights> Layers { get; init; }

    public required Tensor FinalNorm { get; init; }

    public required Tensor Head { get; init; }

    /// <summary>Bytes of all weights.</summary>
    public long ByteLength => _owned.Sum(TensorMemory.ByteLength);

    /// <summary>Reads and packs the weights.</summary>
    /// <param name="config">Shape of the model.</param>
    /// <param name="type">Type of the matrices.</param>
    /// <param name="load">Gives a weight in any floating-point type; called once for each.</param>
    public static ModelWeights Load(ModelConfig config, ScalarType type, Func<LlamaParameter, Tensor> load)
    {
        using var withoutGradients = torch.no_grad();
        var owned = new List<Tensor>();
        try
        {
            var whole = LlamaParameters.All(config).Where(p => p.Position is not ModelPosition.DecoderLayer).ToDictionary(p => p.Role);
            var embedding = Matrix(whole[LlamaRole.Embedding]);
            var layers = Enumerable.Range(0, config.NumHiddenLayers).Select(Layer).ToList();
            var finalNorm = Vector(whole[LlamaRole.FinalNorm]);
            var weights = new ModelWeights(config)
            {
                Embedding = embedding,
                Layers = layers,
                FinalNorm = finalNorm,
                Head = config.TieWordEmbeddings ? embedding : Matrix(whole[LlamaRole.Head]),
            };
            weights._owned.AddRange(owned);
            return weights;
        }
        catch
        {
            owned.ForEach(tensor => tensor.Dispose());
            throw;
        }

        LayerWeights Layer(int index)
        {
            var byRole = LlamaParameters.OfLayer(config, index).ToDictionary(p => p.Role);
            return new LayerWeights(
                Vector(byRole[LlamaRole.InputNorm]),
                Matrix(byRole[LlamaRole.Query], byRole[LlamaRole.Key], byRole[LlamaRole.Value]),
                config.AttentionBias ? Matrix(byRole[LlamaRole.QueryBias], byRole[LlamaRole.KeyBias], byRole[LlamaRole.ValueBias]) : null,
                config.QkNorm ? Vector(byRole[LlamaRole.QueryNorm]) : null,
                config.QkNorm ? Vector(byRole[LlamaRole.KeyNorm]) : null,
                Matrix(byRole[LlamaRole.AttentionOutput]),
                Vector(byRole[LlamaRole.PostAttentionNorm]),
                Matrix(byRole[LlamaRole.Gate], byRole[LlamaRole.Up]),
                Matrix(byRole[LlamaRole.Down]));
        }

        Tensor Vector(LlamaParameter parameter) => Keep([parameter], ScalarType.Float32);
        Tensor Matrix(params ReadOnlySpan<LlamaParameter> parameters) => Keep(parameters, type);

        Tensor Keep(ReadOnlySpan<LlamaParameter> parameters, ScalarType storage)
        {
            using var scope = torch.NewDisposeScope();
            var parts = new Tensor[parameters.Length];
            for (var i = 0; i < parts.Length; i++)
                parts[i] = load(parameters[i]).to(storage);
            var packed = parts.Length == 1 ? parts[0].contiguous() : torch.cat(parts, 0);
            owned.Add(packed.DetachFromDisposeScope());
            return packed;
        }
    }

    public void Dispose()
    {
        foreach (var tensor in _owned)
            tensor.Dispose();
        _owned.Clear();
    }
}
