using Platform.Core.Models;
using Platform.Serving.Execution.Kernels;
using Platform.Serving.Execution.Sharding;
using Platform.Torch.Models.Llama;

namespace Platform.Serving.Execution;

/// <summary>The weights of one layer: packed matrices, and vectors in fp32.</summary>
/// <param name="InputNorm">[E].</param>
/// <param name="QueryKeyValue">Query, key and value projections, one below the other.</param>
/// <param name="QueryKeyValueBias">Their biases in the same order, if the model has them.</param>
/// <param name="QueryNorm">Per-head norm of queries, [D], if the model has it.</param>
/// <param name="KeyNorm">Per-head norm of keys, [D], if the model has it.</param>
/// <param name="AttentionOutput">[E, heads · D].</param>
/// <param name="PostAttentionNorm">[E].</param>
/// <param name="GateUp">Gate and up projections, 16 outputs of each in turn.</param>
/// <param name="Down">[E, intermediate].</param>
internal sealed record LayerWeights<T>(
    NativeBuffer InputNorm, PackedMatrix<T> QueryKeyValue, NativeBuffer? QueryKeyValueBias, NativeBuffer? QueryNorm,
    NativeBuffer? KeyNorm, PackedMatrix<T> AttentionOutput, NativeBuffer PostAttentionNorm, PackedMatrix<T> GateUp, PackedMatrix<T> Down)
    where T : unmanaged, IElement<T>
{
    public IEnumerable<PackedMatrix<T>> Matrices => [QueryKeyValue, AttentionOutput, GateUp, Down];
}

/// <summary>The weights that one rank needs of a model, packed for serving. Owns their memory.</summary>
internal sealed unsafe class ModelWeights<T> : IDisposable
    where T : unmanaged, IElement<T>
{
    private readonly List<IDisposable> _owned = [];
    private readonly List<NativeBuffer> _vectors = [];

    private ModelWeights(ModelConfig config, TensorShard shard) => (Config, Shard, Local) = (config, shard, shard.Of(config));

    /// <summary>Shape of the whole model.</summary>
    public ModelConfig Config { get; }

    /// <summary>Which part of it this is.</summary>
    public TensorShard Shard { get; }

    /// <summary>Shape of this part's layers.</summary>
    public ModelConfig Local { get; }

    /// <summary>Rows of the embedding of the shard's tokens, [V, E].</summary>
    public required NativeBuffer Embedding { get; init; }

    public required IReadOnlyList<LayerWeights<T>> Layers { get; init; }

    public required NativeBuffer FinalNorm { get; init; }

    /// <summary>The head of the shard's tokens.</summary>
    public required PackedMatrix<T> Head { get; init; }

    /// <summary>Bytes of all weights.</summary>
    public long ByteLength => _vectors.Sum(vector => vector.ByteLength) + Matrices.Sum(matrix => matrix.ByteLength);

    /// <summary>What quantisation lost in all matrices together.</summary>
    public QuantisationError Error => Matrices.Aggregate(default(QuantisationError), (sum, matrix) => sum + matrix.Error);

    /// <summary>Elements of the largest panel that must be widened before use.</summary>
    public int LargestQuantisedPanel =>
        Matrices.Where(matrix => matrix.Storage == WeightStorage.Quantised).Select(matrix => matrix.PanelElements).DefaultIfEmpty(0).Max();

    private IEnumerable<PackedMatrix<T>> Matrices => Layers.SelectMany(layer => layer.Matrices).Append(Head);

    /// <summary>Reads and packs the weights.</summary>
    /// <param name="config">Shape of the model.</param>
    /// <param name="shard">Which part of it; one of those that <see cref="TensorShard.Refusal"/> allows.</param>
    /// <param name="storage">How matrices are kept.</param>
    /// <param name="lanes">Threads that pack.</param>
    /// <param name="find">Where a weight lies; it must stay there until this returns.</param>
    public static ModelWeights<T> Load(
        ModelConfig config, TensorShard shard, WeightStorage storage, ComputeLanes lanes, Func<LlamaParameter, WeightView> find)
    {
        var owned = new List<IDisposable>();
        var vectors = new List<NativeBuffer>();
        try
        {
            var whole = LlamaParameters.All(config).Where(p => p.Position is not ModelPosition.DecoderLayer).ToDictionary(p => p.Role);
            var tokens = shard.Vocabulary(config);
            var embedding = Rows(Part(whole[LlamaRole.Embedding], tokens));
            var head = whole[config.TieWordEmbeddings ? LlamaRole.Embedding : LlamaRole.Head];
            var weights = new ModelWeights<T>(config, shard)
            {
                Embedding = embedding,
                Layers = [.. Enumerable.Range(0, config.NumHiddenLayers).Select(Layer)],
                FinalNorm = Vector(Whole(whole[LlamaRole.FinalNorm])),
                Head = Matrix(config.HiddenSize, WeightRows.Stacked(Part(head, tokens))),
            };
            weights._owned.AddRange(owned);
            weights._vectors.AddRange(vectors);
            return weights;
        }
        catch
        {
            owned.ForEach(memory => memory.Dispose());
            throw;
        }

        LayerWeights<T> Layer(int index)
        {
            var byRole = LlamaParameters.OfLayer(config, index).ToDictionary(p => p.Role);
            ShardRange queries = shard.Queries(config).Of(config.HeadDim), keys = shard.KeyValues(config).Of(config.HeadDim);
            var units = shard.Intermediate(config);
            return new LayerWeights<T>(
                All(LlamaRole.InputNorm),
                Matrix(config.HiddenSize, WeightRows.Stacked(Outputs(LlamaRole.Query, queries), Outputs(LlamaRole.Key, keys), Outputs(LlamaRole.Value, keys))),
                config.AttentionBias
                    ? Vector(Outputs(LlamaRole.QueryBias, queries), Outputs(LlamaRole.KeyBias, keys), Outputs(LlamaRole.ValueBias, keys)) : null,
                config.QkNorm ? All(LlamaRole.QueryNorm) : null,
                config.QkNorm ? All(LlamaRole.KeyNorm) : null,
                Matrix(queries.Count, WeightRows.Stacked(Inputs(LlamaRole.AttentionOutput, queries))),
                All(LlamaRole.PostAttentionNorm),
                Matrix(config.HiddenSize, WeightRows.Interleaved(Outputs(LlamaRole.Gate, units), Outputs(LlamaRole.Up, units))),
                Matrix(units.Count, WeightRows.Stacked(Inputs(LlamaRole.Down, units))));

            NativeBuffer All(LlamaRole role) => Vector(Whole(byRole[role]));

            WeightPart Outputs(LlamaRole role, ShardRange rows) => Part(byRole[role], rows);

            WeightPart Inputs(LlamaRole role, ShardRange columns) =>
                Part(byRole[role], new(0, (int)byRole[role].Shape[0])) with { FirstColumn = columns.First };
        }

        WeightPart Part(LlamaParameter parameter, ShardRange rows) =>
            new(find(parameter), parameter.IsMatrix ? checked((int)parameter.Shape[1]) : 1, rows.First, rows.Count);

        WeightPart Whole(LlamaParameter parameter) => Part(parameter, new(0, checked((int)parameter.Shape[0])));

        PackedMatrix<T> Matrix(int inputs, WeightRows rows)
        {
            var matrix = new PackedMatrix<T>(rows, inputs, storage, lanes);
            owned.Add(matrix);
            return matrix;
        }

        NativeBuffer Vector(params ReadOnlySpan<WeightPart> parts)
        {
            var total = 0;
            foreach (var part in parts)
                total += part.Rows;
            // Products add biases a panel at a time.
            var memory = Keep(new NativeBuffer((total + TileKernel<T>.Columns) * (long)sizeof(float)));
            var first = 0;
            foreach (var part in parts)
            {
                part.Read(0, part.Rows, memory.Pointer<float>() + first);
                first += part.Rows;
            }

            return memory;
        }

        NativeBuffer Rows(WeightPart part)
        {
            var width = part.RowLength;
            var memory = Keep(new NativeBuffer((long)part.Rows * width * sizeof(T)));
            using var scratch = new NativeBuffer((long)lanes.Count * width * sizeof(float));
            lanes.Run(part.Rows, parallel: true, (row, lane) =>
            {
                var values = scratch.Pointer<float>() + ((long)lane * width);
                part.Read(row, width, values);
                RowKernels.Narrow(values, memory.Pointer<T>() + ((long)row * width), width);
            });
            return memory;
        }

        NativeBuffer Keep(NativeBuffer memory)
        {
            owned.Add(memory);
            vectors.Add(memory);
            return memory;
        }
    }

    public void Dispose()
    {
        _owned.ForEach(memory => memory.Dispose());
        _owned.Clear();
    }
}
