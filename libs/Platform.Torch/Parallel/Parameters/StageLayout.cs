using System.Collections.Immutable;
using Platform.Core.Models;
using Platform.Core.Parallelism;
using Platform.Torch.Models.Llama;

namespace Platform.Torch.Parallel.Parameters;

/// <summary>How a model is laid out over a mesh, beyond the widths of the mesh.</summary>
/// <param name="SequenceLength">Tokens per sequence, which weighs attention against the rest when layers are divided.</param>
/// <param name="VirtualStages">Chunks of the model on each pipeline stage.</param>
/// <param name="SequenceParallel">Ranks of a tensor group divide the residual stream by tokens.</param>
public sealed record LayoutSettings(int SequenceLength, int VirtualStages, bool SequenceParallel);

/// <summary>Which tensors one rank of a mesh holds: a pure function of the model, the mesh and the rank's place.</summary>
public sealed record StageLayout
{
    private static readonly (BundleRole A, BundleRole B, ImmutableArray<LlamaRole> Projections)[] AdapterBundles =
    [
        (BundleRole.QueryKeyValueAdapterA, BundleRole.QueryKeyValueAdapterB, [LlamaRole.Query, LlamaRole.Key, LlamaRole.Value]),
        (BundleRole.AttentionOutputAdapterA, BundleRole.AttentionOutputAdapterB, [LlamaRole.AttentionOutput]),
        (BundleRole.GateUpAdapterA, BundleRole.GateUpAdapterB, [LlamaRole.Gate, LlamaRole.Up]),
        (BundleRole.DownAdapterA, BundleRole.DownAdapterB, [LlamaRole.Down]),
    ];

    /// <summary>The whole model.</summary>
    public required ModelConfig Config { get; init; }

    /// <summary>The mesh.</summary>
    public required DeviceMesh Mesh { get; init; }

    /// <summary>The rank's place.</summary>
    public required MeshCoordinate Coordinate { get; init; }

    /// <summary>The layers of the stage's chunks, in order; one chunk without virtual stages.</summary>
    public required ImmutableArray<StageLayers> Chunks { get; init; }

    /// <summary>Ranks of a tensor group divide the residual stream by tokens.</summary>
    public required bool SequenceParallel { get; init; }

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

    /// <summary>Adapters that are trained in place of the model; null when the model itself is trained.</summary>
    public LowRankAdapters? Adapters { get; init; }

    /// <summary>Lays a model out.</summary>
    /// <param name="config">The whole model.</param>
    /// <param name="mesh">The mesh.</param>
    /// <param name="coordinate">The rank's place.</param>
    /// <param name="settings">What else is chosen.</param>
    /// <param name="adapters">Adapters to train while the model itself stays as it is; null to train the model.</param>
    /// <exception cref="ArgumentException">Heads, key/value heads or the inner size do not divide by the tensor width, or there are fewer layers than chunks.</exception>
    public static StageLayout Create(
        ModelConfig config, DeviceMesh mesh, MeshCoordinate coordinate, LayoutSettings settings, LowRankAdapters? adapters = null)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(mesh);
        ArgumentNullException.ThrowIfNull(settings);
        if (config.NumAttentionHeads % mesh.Tensor != 0 || config.NumKeyValueHeads % mesh.Tensor != 0)
            throw new ArgumentException(
                $"{config.NumAttentionHeads} heads and {config.NumKeyValueHeads} key/value heads do not divide by a tensor width of {mesh.Tensor}.",
                nameof(config));

        var chunks = LayerPartition.Divide(
            config.NumHiddenLayers, mesh.Pipeline, settings.VirtualStages, LayerCosts.Of(config, settings.SequenceLength))[coordinate.Pipeline];
        var bundles = ImmutableArray.CreateBuilder<ParameterBundle>();
        var outside = LlamaParameters.All(config).Where(p => p.Position is not ModelPosition.DecoderLayer).ToDictionary(p => p.Role);
        if (coordinate.Pipeline == 0)
            Add(BundleRole.Embedding, null, outside[LlamaRole.Embedding]);
        foreach (var layer in chunks.SelectMany(chunk => Enumerable.Range(chunk.First, chunk.Count)))
        {
            var weights = LlamaParameters.OfLayer(config, layer).ToDictionary(p => p.Role);
            Add(BundleRole.InputNorm, layer, weights[LlamaRole.InputNorm]);
            Add(BundleRole.QueryKeyValue, layer, weights[LlamaRole.Query], weights[LlamaRole.Key], weights[LlamaRole.Value]);
            if (config.AttentionBias)
                Add(BundleRole.QueryKeyValueBias, layer, weights[LlamaRole.QueryBias], weights[LlamaRole.KeyBias], weights[LlamaRole.ValueBias]);
            if (config.QkNorm)
            {
                Add(BundleRole.QueryNorm, layer, weights[LlamaRole.QueryNorm]);
                Add(BundleRole.KeyNorm, layer, weights[LlamaRole.KeyNorm]);
            }

            Add(BundleRole.AttentionOutput, layer, weights[LlamaRole.AttentionOutput]);
            Add(BundleRole.PostAttentionNorm, layer, weights[LlamaRole.PostAttentionNorm]);
            Add(BundleRole.GateUp, layer, weights[LlamaRole.Gate], weights[LlamaRole.Up]);
            Add(BundleRole.Down, layer, weights[LlamaRole.Down]);
            if (adapters is not null)
                AddAdapters(layer, adapters, weights);
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
            Chunks = chunks,
            SequenceParallel = settings.SequenceParallel,
            Adapters = adapters,
            Bundles = bundles.DrainToImmutable(),
        };

        void AddAdapters(int layer, LowRankAdapters chosen, Dictionary<LlamaRole, LlamaParameter> weights)
        {
            foreach (var (a, b, roles) in AdapterBundles)
            {
                var factors = roles.Where(chosen.Targets.Contains).Select(role => chosen.FactorsOf(weights[role])).ToList();
                if (factors.Count == 0)
                    continue;
                Add(a, layer, [.. factors.Select(factor => factor.A)]);
                Add(b, layer, [.. factors.Select(factor => factor.B)]);
            }
        }

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
                IsTrained = adapters is null || weights[0].IsAdapter,

                // Whole on every rank, but applied to the rank's own tokens or heads, or to a share of the inputs or outputs.
                HasPartialGradient = mesh.Tensor > 1 && weights[0].Split == TensorSplit.Replicated
                    && (settings.SequenceParallel || weights[0].Role is LlamaRole.QueryNorm or LlamaRole.KeyNorm or LlamaRole.AdapterA or LlamaRole.AdapterB),
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
