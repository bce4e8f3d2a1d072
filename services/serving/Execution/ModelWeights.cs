using Platform.Core.Models;
using Platform.Serving.Execution.Kernels;
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

/// <summary>All weights of a model, packed for serving. Owns their memory.</summary>
internal sealed unsafe class ModelWeights<T> : IDisposable
    where T : unmanaged, IElement<T>
{
    private readonly List<IDisposable> _owned = [];
    private readonly List<NativeBuffer> _vectors = [];

    private ModelWeights(ModelConfig config) => Config = config;

    public ModelConfig Config { get; }

    /// <summary>Rows of the embedding, [V, E].</summary>
    public required NativeBuffer Embedding { get; init; }

    public required IReadOnlyList<LayerWeights<T>> Layers { get; init; }

    public required NativeBuffer FinalNorm { get; init; }

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
    /// <param name="storage">How matrices are kept.</param>
    /// <param name="lanes">Threads that pack.</param>
    /// <param name="find">Where a weight lies; it must stay there until this returns.</param>
    public static ModelWeights<T> Load(ModelConfig config, WeightStorage storage, ComputeLanes lanes, Func<LlamaParameter, WeightView> find)
    {
        var owned = new List<IDisposable>();
        var vectors = new List<NativeBuffer>();
        try
        {
            var whole = LlamaParameters.All(config).Where(p => p.Position is not ModelPosition.DecoderLayer).ToDictionary(p => p.Role);
            var embedding = Rows(whole[LlamaRole.Embedding]);
            var head = whole[config.TieWordEmbeddings ? LlamaRole.Embedding : LlamaRole.Head];
            var weights = new ModelWeights<T>(config)
            {
                Embedding = embedding,
                Layers = [.. Enumerable.Range(0, config.NumHiddenLayers).Select(Layer)],
                FinalNorm = Vector(whole[LlamaRole.FinalNorm]),
                Head = Matrix(config.HiddenSize, WeightRows.Stacked((find(head), config.VocabSize))),
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
            int queries = config.NumAttentionHeads * config.HeadDim, keys = config.NumKeyValueHeads * config.HeadDim;
            return new LayerWeights<T>(
                Vector(byRole[LlamaRole.InputNorm]),
                Matrix(config.HiddenSize, WeightRows.Stacked((At(LlamaRole.Query), queries), (At(LlamaRole.Key), keys), (At(LlamaRole.Value), keys))),
                config.AttentionBias ? Vector(byRole[LlamaRole.QueryBias], byRole[LlamaRole.KeyBias], byRole[LlamaRole.ValueBias]) : null,
                config.QkNorm ? Vector(byRole[LlamaRole.QueryNorm]) : null,
                config.QkNorm ? Vector(byRole[LlamaRole.KeyNorm]) : null,
                Matrix(queries, WeightRows.Stacked((At(LlamaRole.AttentionOutput), config.HiddenSize))),
                Vector(byRole[LlamaRole.PostAttentionNorm]),
                Matrix(config.HiddenSize, WeightRows.Interleaved(At(LlamaRole.Gate), At(LlamaRole.Up), config.IntermediateSize)),
                Matrix(config.IntermediateSize, WeightRows.Stacked((At(LlamaRole.Down), config.HiddenSize))));

            WeightView At(LlamaRole role) => find(byRole[role]);
        }

        PackedMatrix<T> Matrix(int inputs, WeightRows rows)
        {
            var matrix = new PackedMatrix<T>(rows, inputs, storage, lanes);
            owned.Add(matrix);
            return matrix;
        }

        NativeBuffer Vector(params ReadOnlySpan<LlamaParameter> parameters)
        {
            var total = 0;
            foreach (var parameter in parameters)
                total += checked((int)parameter.Shape[0]);
            // Products add biases a panel at a time.
            var memory = Keep(new NativeBuffer((total + TileKernel<T>.Columns) * (long)sizeof(float)));
            var first = 0;
            foreach (var parameter in parameters)
            {
                find(parameter).Read(0, (int)parameter.Shape[0], memory.Pointer<float>() + first);
                first += (int)parameter.Shape[0];
            }

            return memory;
        }

        NativeBuffer Rows(LlamaParameter parameter)
        {
            var (count, width) = (checked((int)parameter.Shape[0]), checked((int)parameter.Shape[1]));
            var memory = Keep(new NativeBuffer((long)count * width * sizeof(T)));
            var view = find(parameter);
            using var scratch = new NativeBuffer((long)lanes.Count * width * sizeof(float));
            lanes.Run(count, parallel: true, (row, lane) =>
            {
                var values = scratch.Pointer<float>() + ((long)lane * width);
                view.Read((long)row * width, width, values);
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
