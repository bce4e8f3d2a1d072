using Platform.Core.Models;
using Platform.Formats;
using Platform.Formats.Peft;
using Platform.Formats.Safetensors;
using Platform.Serving.Execution.Kernels;
using Platform.Serving.Execution.Sharding;
using Platform.Torch.Models.Llama;

namespace Platform.Serving.Execution.Adapters;

/// <summary>The matrices of a layer that adapters add to, in the order in which a layer uses them.</summary>
internal enum AdapterSite
{
    /// <summary>Query, key and value projections.</summary>
    QueryKeyValue,

    /// <summary>The attention's output projection.</summary>
    AttentionOutput,

    /// <summary>Gate and up projections.</summary>
    GateUp,

    /// <summary>The MLP's down projection.</summary>
    Down,
}

/// <summary>
/// The factors of one adapter at one site. The projections of the site share one product: their A lie one below the other, and
/// B is block-diagonal, so that each reads its own part of the inner product.
/// </summary>
/// <param name="A">[P · r, inputs], P the adapted projections.</param>
/// <param name="B">[outputs of the site, P · r], its outputs in the order of the model's matrix, times the adapter's scale.</param>
internal sealed record AdapterFactors<T>(PackedMatrix<T> A, PackedMatrix<T> B)
    where T : unmanaged, IElement<T>;

/// <summary>
/// A low-rank adapter packed for serving. Of a rank of a tensor-parallel group it holds what belongs to that rank's part of the
/// model: where outputs are divided, all of A and the rank's rows of B; where inputs are divided, the rank's columns of A and
/// all of B, so that what it adds is part of the sum over the ranks. Owns its memory.
/// </summary>
internal sealed unsafe class AdapterWeights<T> : IDisposable
    where T : unmanaged, IElement<T>
{
    private static readonly int Sites = Enum.GetValues<AdapterSite>().Length;

    private readonly AdapterFactors<T>?[] _factors;

    private AdapterWeights(string name, int layers)
    {
        Name = name;
        _factors = new AdapterFactors<T>?[layers * Sites];
    }

    /// <summary>Name that requests use.</summary>
    public string Name { get; }

    /// <summary>Bytes of all factors.</summary>
    public long ByteLength => _factors.Sum(factors => factors is null ? 0 : factors.A.ByteLength + factors.B.ByteLength);

    /// <summary>Most columns of an inner product, padding included.</summary>
    public int WidestInner => _factors.Max(factors => factors?.A.PaddedOutputs ?? 0);

    /// <summary>The factors at a site; null where the adapter changes nothing.</summary>
    public AdapterFactors<T>? At(int layer, AdapterSite site) => _factors[(layer * Sites) + (int)site];

    /// <summary>Reads and packs an adapter that was found to fit the model.</summary>
    /// <exception cref="ModelFormatException">A number is not finite.</exception>
    public static AdapterWeights<T> Load(string name, ModelConfig config, TensorShard shard, LoraAdapterDirectory adapter, ComputeLanes lanes)
    {
        var weights = new AdapterWeights<T>(name, config.NumHiddenLayers);
        ShardRange queries = shard.Queries(config).Of(config.HeadDim), keys = shard.KeyValues(config).Of(config.HeadDim);
        ShardRange units = shard.Intermediate(config), hidden = new(0, config.HiddenSize);
        try
        {
            for (var layer = 0; layer < config.NumHiddenLayers; layer++)
            {
                var byRole = LlamaParameters.OfLayer(config, layer).ToDictionary(parameter => parameter.Role, parameter => parameter.Name);
                weights.Put(
                    layer, AdapterSite.QueryKeyValue, adapter, lanes, hidden,
                    (byRole[LlamaRole.Query], queries), (byRole[LlamaRole.Key], keys), (byRole[LlamaRole.Value], keys));
                weights.Put(layer, AdapterSite.AttentionOutput, adapter, lanes, queries, (byRole[LlamaRole.AttentionOutput], hidden));
                weights.Put(layer, AdapterSite.GateUp, adapter, lanes, hidden, (byRole[LlamaRole.Gate], units), (byRole[LlamaRole.Up], units));
                weights.Put(layer, AdapterSite.Down, adapter, lanes, units, (byRole[LlamaRole.Down], hidden));
            }

            return weights;
        }
        catch
        {
            weights.Dispose();
            throw;
        }
    }

    public void Dispose()
    {
        foreach (var factors in _factors)
        {
            factors?.A.Dispose();
            factors?.B.Dispose();
        }
    }

    private void Put(
        int layer, AdapterSite site, LoraAdapterDirectory adapter, ComputeLanes lanes, ShardRange inputs,
        params ReadOnlySpan<(string Weight, ShardRange Outputs)> projections)
    {
        var adapted = new List<string>();
        var outputs = 0;
        foreach (var (weight, rows) in projections)
        {
            outputs += rows.Count;
            if (adapter.Adapts(weight))
                adapted.Add(weight);
        }

        if (adapted.Count == 0)
            return;
        var (rank, inner) = (adapter.Rank, adapted.Count * adapter.Rank);
        var a = new PackedMatrix<T>(
            WeightRows.Stacked([.. adapted.Select(weight => Read(adapter, LoraAdapterDirectory.NameOfA(weight), new(0, rank), inputs.First))]),
            inputs.Count, WeightStorage.Plain, lanes);

        // B as a plain matrix of the whole site, zero outside the blocks.
        using var dense = new NativeBuffer((long)outputs * inner * sizeof(float));
        var row = dense.Pointer<float>();
        foreach (var (weight, rows) in projections)
        {
            if (adapted.IndexOf(weight) is var block and >= 0)
            {
                var part = Read(adapter, LoraAdapterDirectory.NameOfB(weight), rows, 0);
                for (var output = 0; output < rows.Count; output++)
                {
                    var values = row + ((long)output * inner) + (block * rank);
                    part.Read(output, rank, values);
                    for (var i = 0; i < rank; i++)
                        values[i] = (float)(values[i] * adapter.Scale);
                }
            }

            row += (long)rows.Count * inner;
        }

        var whole = new WeightView((nint)dense.Pointer<float>(), TensorDataType.F32);
        var order = site == AdapterSite.GateUp
            ? WeightRows.Interleaved(new WeightPart(whole, inner, 0, outputs / 2), new WeightPart(whole, inner, outputs / 2, outputs / 2))
            : WeightRows.Stacked(new WeightPart(whole, inner, 0, outputs));
        _factors[(layer * Sites) + (int)site] = new(a, new PackedMatrix<T>(order, inner, WeightStorage.Plain, lanes));
    }

    /// <summary>A factor's rows, all of whose numbers were found to be usable.</summary>
    private static WeightPart Read(LoraAdapterDirectory adapter, string tensor, ShardRange rows, int firstColumn)
    {
        const int piece = 1024;
        var entry = adapter.Entry(tensor);
        var view = new WeightView((nint)adapter.Pointer(tensor), entry.DataType);
        var values = stackalloc float[piece];
        var count = entry.Shape.ElementCount();
        for (long first = 0; first < count; first += piece)
        {
            var length = (int)Math.Min(piece, count - first);
            view.Read(first, length, values);
            for (var i = 0; i < length; i++)
            {
                // Elements may be narrower than the file's numbers.
                if (!float.IsFinite(T.ToSingle(T.FromSingle((float)(values[i] * Math.Max(1, adapter.Scale))))))
                    throw new ModelFormatException(adapter.WeightsPath, tensor, $"element {first + i} is {values[i]}, which is not finite or too large");
            }
        }

        return new(view, checked((int)entry.Shape[1]), rows.First, rows.Count, firstColumn);
    }
}
