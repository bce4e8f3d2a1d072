using System.Collections.Immutable;
using Platform.Core.Models;
using Platform.Core.Parallelism;
using Platform.Torch.Models.Llama;

namespace Platform.Torch.Parallel.Parameters;

/// <summary>Which tensors one rank of a mesh holds: a pure function of the model, the mesh and the rank's place.</summary>
public sealed record StageLayout
{
    /// <summary>The whole model.</summary>
    public required ModelConfig Config { get; init; }

    /// <summary>The mesh.</summary>
    public required DeviceMesh Mesh { get; init; }

    /// <summary>The rank's place.</summary>
    public required MeshCoordinate Coordinate { get; init; }

    /// <summary>The stage's layers.</summary>
    public required StageLayers Layers { get; init; }

    /// <summary>The tensors, in the order in which a forward pass uses them.</summary>
    public required ImmutableArray<ParameterBundle> Bundles { get; init; }

    /// <summary>Whether the stage has the embedding.</summary>
    public bool IsFirst => Coordinate.Pipeline == 0;

    /// <summary>Whether the stage has the head.</summary>
    public bool IsLast => Coordinate.Pipeline == Mesh.Pipeline - 1;

    /// <summary>Query heads of the rank.</summary>
    public int Heads => Config.NumAttentionHeads / Mesh.Tensor;

    /// <summary>Key/value heads of the rank.</summary>
    public int KeyValueHeads => Config.NumKeyValueHeads / Mesh.Tensor;

    /// <summary>Lays a model out.</summary>
    /// <exception cref="ArgumentException">Heads, key/value heads or the inner size do not divide by the tensor width, or there are fewer layers than stages.</exception>
    /// <exception cref="NotSupportedException">The model normalises queries and keys per head.</exception>
    public static StageLayout Create(ModelConfig config, DeviceMesh mesh, MeshCoordinate coordinate)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(mesh);
        if (config.NumAttentionHeads % mesh.Tensor != 0 || config.NumKeyValueHeads % mesh.Tensor != 0)
            throw new ArgumentException(
                $"{config.NumAttentionHeads} heads and {config.NumKeyValueHeads} key/value heads do not divide by a tensor width of {mesh.Tensor}.",
                nameof(config));
        if (config.QkNorm)
            throw new NotSupportedException("Training does not support norms of queries and keys.");

        var layers = LayerPartition.Of(config.NumHiddenLayers, mesh.Pipeline, coordinate.Pipeline);
        var bundles = ImmutableArray.CreateBuilder<ParameterBundle>();
        var outside = LlamaParameters.All(config).Where(p => p.Position is not ModelPosition.DecoderLayer).ToDictionary(p => p.Role);
        if (coordinate.Pipeline == 0)
            Add(BundleRole.Embedding, null, outside[LlamaRole.Embedding]);
        for (var layer = layers.First; layer < layers.End; layer++)
        {
            var weights = LlamaParameters.OfLayer(config, layer).ToDictionary(p => p.Role);
            Add(BundleRole.InputNorm, layer, weights[LlamaRole.InputNorm]);
            Add(BundleRole.QueryKeyValue, layer, weights[LlamaRole.Query], weights[LlamaRole.Key], weights[LlamaRole.Value]);
            if (config.AttentionBias)
                Add(BundleRole.QueryKeyValueBias, layer, weights[LlamaRole.QueryBias], weights[LlamaRole.KeyBias], weights[LlamaRole.ValueBias]);
            Add(BundleRole.AttentionOutput, layer, weights[LlamaRole.AttentionOutput]);
            Add(BundleRole.PostAttentionNorm, layer, weights[LlamaRole.PostAttentionNorm]);
            Add(BundleRole.GateUp, layer, weights[LlamaRole.Gate], weights[LlamaRole.Up]);
            Add(BundleRole.Down, layer, weights[LlamaRole.Down]);
        }

        if (coordinate.Pipeline == mesh.Pipeline - 1)
        {
            Add(BundleRole.FinalNorm, null, outside[LlamaRole.FinalNorm]);
            if (!config.TieWordEmbeddings)
                Add(BundleRole.Head, null, outside[LlamaRole.Head]);
            else if (mesh.Pipeline > 1)
                Add(BundleRole.Embedding, null, outside[LlamaRole.Embedding]);
        }

        return new StageLayout
        {
            Config = config,
            Mesh = mesh,
            Coordinate = coordinate,
            Layers = layers,
            Bundles = bundles.DrainToImmutable(),
        };

        void Add(BundleRole role, int? layer, params ReadOnlySpan<LlamaParameter> weights)
        {
            var parts = ImmutableArray.CreateBuilder<BundlePart>();
            long rows = 0;
            foreach (var weight in weights)
            {
                parts.Add(new BundlePart(weight, weight.SliceFor(coordinate.Tensor, mesh.Tensor), rows));
                rows += parts[^1].LocalShape[0];
            }

            bundles.Add(new ParameterBundle
            {
                Role = role,
                Layer = layer,
                Parts = parts.DrainToImmutable(),
                IsTiedCopy = role == BundleRole.Embedding && coordinate.Pipeline > 0,
            });
        }
    }

    /// <summary>The bundle of a role.</summary>
    public ParameterBundle Find(BundleRole role, int? layer) => Bundles.Single(bundle => bundle.Role == role && bundle.Layer == layer);

    /// <summary>Whether this rank counts and saves a bundle: of several ranks that hold the same elements, exactly one does.</summary>
    public bool Owns(ParameterBundle bundle)
    {
        ArgumentNullException.ThrowIfNull(bundle);
        return !bundle.IsTiedCopy && (Coordinate.Tensor == 0 || !bundle.IsReplicated);
    }
}
