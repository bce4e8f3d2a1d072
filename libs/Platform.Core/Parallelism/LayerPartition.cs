using System.Collections.Immutable;
using Platform.Core.Models;

namespace Platform.Core.Parallelism;

/// <summary>A run of decoder layers.</summary>
/// <param name="First">First layer, from 0.</param>
/// <param name="Count">Number of consecutive layers.</param>
public readonly record struct StageLayers(int First, int Count)
{
    /// <summary>One past the last layer.</summary>
    public int End => First + Count;
}

/// <summary>What the parts of a model cost, in one unit of any kind.</summary>
/// <param name="Layer">One decoder layer.</param>
/// <param name="Embedding">The embedding, before the first layer.</param>
/// <param name="Head">Final norm, head and loss, after the last.</param>
public readonly record struct LayerCosts(double Layer, double Embedding, double Head)
{
    /// <summary>
    /// Multiply-adds per embedded element: a look-up and an addition into the table move about 24 bytes for it, in whose
    /// time a processor does some fifty multiply-adds, a third of them in the forward, to which all costs here refer.
    /// </summary>
    private const double EmbeddedElement = 16;

    /// <summary>Multiply-adds per token of a forward; a backward takes twice that everywhere.</summary>
    /// <param name="config">The model.</param>
    /// <param name="sequenceLength">Tokens per sequence, half of which a token attends to on average.</param>
    public static LayerCosts Of(ModelConfig config, int sequenceLength)
    {
        ArgumentNullException.ThrowIfNull(config);
        double hidden = config.HiddenSize, attended = (double)config.NumAttentionHeads * config.HeadDim;
        var projections = hidden * ((2 * attended) + (2.0 * config.NumKeyValueHeads * config.HeadDim));
        return new LayerCosts(
            projections + (sequenceLength * attended) + (3 * hidden * config.IntermediateSize),
            EmbeddedElement * hidden,
            hidden * config.VocabSize);
    }
}

/// <summary>Division of a model's layers among the stages of a pipeline and their chunks.</summary>
public static class LayerPartition
{
    /// <summary>
    /// Divides layers so that the most loaded stage has as little as possible, embedding and head included; within a stage
    /// the most loaded chunk. Every chunk has at least one layer. Among equals the later stage takes more: it keeps fewer
    /// micro-batches in flight.
    /// </summary>
    /// <param name="layers">Number of decoder layers.</param>
    /// <param name="stages">Stages of the pipeline.</param>
    /// <param name="virtualStages">Chunks per stage.</param>
    /// <param name="costs">What the parts cost.</param>
    /// <returns>The layers of each stage's chunks: <c>[stage][chunk]</c>. Chunk c of stage s follows chunk c of stage s − 1, and chunk c of stage 0 chunk c − 1 of the last stage.</returns>
    /// <exception cref="ArgumentException">There are more chunks than layers.</exception>
    public static ImmutableArray<ImmutableArray<StageLayers>> Divide(int layers, int stages, int virtualStages, LayerCosts costs)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(stages);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(virtualStages);
        if (layers < (long)stages * virtualStages)
            throw new ArgumentException($"{layers} layers cannot be divided into {(long)stages * virtualStages} stages.", nameof(layers));

        var ofStages = Fill(
            layers, Enumerable.Range(0, stages).Select(stage => Other(stage == 0, stage == stages - 1)), virtualStages, costs.Layer);
        var counts = ofStages.Select((count, stage) => Fill(
            count,
            Enumerable.Range(0, virtualStages).Select(
                chunk => Other(stage == 0 && chunk == 0, stage == stages - 1 && chunk == virtualStages - 1)),
            1,
            costs.Layer)).ToArray();

        var first = 0;
        var divided = counts.Select(_ => ImmutableArray.CreateBuilder<StageLayers>(virtualStages)).ToArray();
        for (var chunk = 0; chunk < virtualStages; chunk++)
        {
            for (var stage = 0; stage < stages; stage++)
            {
                divided[stage].Add(new StageLayers(first, counts[stage][chunk]));
                first += counts[stage][chunk];
            }
        }

        return [.. divided.Select(chunks => chunks.DrainToImmutable())];

        double Other(bool isFirst, bool isLast) => (isFirst ? costs.Embedding : 0) + (isLast ? costs.Head : 0);
    }

    /// <summary>
    /// Puts equal items into bins, each into the bin that is then the least loaded: with equal items no order of filling has
    /// a smaller largest load.
    /// </summary>
    private static int[] Fill(int items, IEnumerable<double> loads, int least, double cost)
    {
        var others = loads.ToArray();
        var counts = new int[others.Length];
        Array.Fill(counts, least);
        var next = new PriorityQueue<int, (double Load, int Order)>();
        for (var bin = 0; bin < counts.Length; bin++)
            Offer(bin);
        for (var left = items - (least * counts.Length); left > 0; left--)
        {
            var bin = next.Dequeue();
            counts[bin]++;
            Offer(bin);
        }

        return counts;

        void Offer(int bin) => next.Enqueue(bin, (others[bin] + ((counts[bin] + 1) * cost), -bin));
    }
}
