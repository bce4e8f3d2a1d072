using Platform.Core.Models;
using Platform.Core.Parallelism;
using Xunit;

namespace Platform.Core.Tests.Parallelism;

public sealed class LayerPartitionTests
{
    [Fact]
    public void Chunks_go_around_the_stages_with_consecutive_layers_and_none_is_empty()
    {
        foreach (var (layers, stages, virtualStages, costs) in Cases(1))
        {
            var parts = LayerPartition.Divide(layers, stages, virtualStages, costs);
            var inOrder =
                from chunk in Enumerable.Range(0, virtualStages)
                from stage in Enumerable.Range(0, stages)
                select parts[stage][chunk];
            Assert.Equal(Enumerable.Range(0, layers), inOrder.SelectMany(part => Enumerable.Range(part.First, part.Count)));
            Assert.All(inOrder, part => Assert.True(part.Count > 0));
        }
    }

    /// <summary>Against every division there is.</summary>
    [Fact]
    public void No_division_has_a_less_loaded_most_loaded_stage()
    {
        foreach (var (layers, stages, virtualStages, costs) in Cases(2))
        {
            var counts = LayerPartition.Divide(layers, stages, virtualStages, costs).Select(chunks => chunks.Sum(chunk => chunk.Count)).ToArray();
            var best = Divisions(layers, stages, virtualStages).Min(division => Largest(division, costs));
            Assert.True(
                Largest(counts, costs) <= best * (1 + 1e-12),
                $"{layers} layers over {stages} × {virtualStages} with {costs}: {string.Join(" ", counts)} has {Largest(counts, costs)}, the best {best}.");
        }
    }

    [Fact]
    public void A_heavy_head_leaves_the_last_stage_fewer_layers() =>
        Assert.Equal([3, 3, 3, 1], Counts(10, 4, 1, new LayerCosts(1, 0, 2)));

    [Fact]
    public void An_embedding_that_costs_as_much_as_a_layer_counts_as_one() =>
        Assert.Equal([2, 3, 2], Counts(7, 3, 1, new LayerCosts(1, 1, 1)));

    [Fact]
    public void Of_equals_the_later_stages_take_more() =>
        Assert.Equal([2, 2, 3, 3], Counts(10, 4, 1, new LayerCosts(1, 0, 0)));

    [Fact]
    public void Within_a_stage_the_chunk_with_the_head_takes_less() =>
        Assert.Equal([3, 3, 3, 1], Chunks(10, 2, 2, new LayerCosts(1, 0, 2)));

    [Fact]
    public void Too_few_layers_are_refused() =>
        Assert.Throws<ArgumentException>(() => LayerPartition.Divide(7, 4, 2, new LayerCosts(1, 0, 0)));

    /// <summary>Llama 3.2 1B: the head has 2048 × 128256 multiply-adds, a layer 60.8 million and attention.</summary>
    [Fact]
    public void The_head_of_a_small_model_with_a_large_vocabulary_weighs_four_layers()
    {
        var costs = LayerCosts.Of(new ModelConfig
        {
            Architecture = "llama",
            VocabSize = 128_256,
            HiddenSize = 2048,
            IntermediateSize = 8192,
            NumHiddenLayers = 16,
            NumAttentionHeads = 32,
            NumKeyValueHeads = 8,
            HeadDim = 64,
            MaxPositionEmbeddings = 131_072,
        }, 2048);

        Assert.Equal((2048 * (2048 + 1024 + 2048)) + (2048 * 2048) + (3 * 2048 * 8192), costs.Layer);
        Assert.Equal(2048.0 * 128_256, costs.Head);
        Assert.Equal([5, 5, 5, 1], Counts(16, 4, 1, costs));
    }

    private static int[] Counts(int layers, int stages, int virtualStages, LayerCosts costs) =>
        [.. LayerPartition.Divide(layers, stages, virtualStages, costs).Select(chunks => chunks.Sum(chunk => chunk.Count))];

    /// <summary>Layers of each chunk in the order of the model.</summary>
    private static int[] Chunks(int layers, int stages, int virtualStages, LayerCosts costs)
    {
        var parts = LayerPartition.Divide(layers, stages, virtualStages, costs);
        return [.. Enumerable.Range(0, virtualStages).SelectMany(chunk => parts.Select(chunks => chunks[chunk].Count))];
    }

    private static IEnumerable<(int Layers, int Stages, int VirtualStages, LayerCosts Costs)> Cases(int seed)
    {
        var random = new Random(seed);
        return
            from layers in Enumerable.Range(1, 14)
            from stages in Enumerable.Range(1, 4)
            from virtualStages in Enumerable.Range(1, 3)
            where layers >= stages * virtualStages
            from _ in Enumerable.Range(0, 4)
            select (layers, stages, virtualStages, new LayerCosts(1 + random.NextDouble(), 3 * random.NextDouble(), 5 * random.NextDouble()));
    }

    /// <summary>Every way of giving stages at least so many layers each.</summary>
    private static IEnumerable<int[]> Divisions(int layers, int stages, int least)
    {
        if (stages == 1)
            return [[layers]];
        return
            from first in Enumerable.Range(least, Math.Max(0, layers - (least * stages) + 1))
            from rest in Divisions(layers - first, stages - 1, least)
            select new[] { first }.Concat(rest).ToArray();
    }

    private static double Largest(int[] counts, LayerCosts costs) => counts
        .Select((count, stage) => (count * costs.Layer) + (stage == 0 ? costs.Embedding : 0) + (stage == counts.Length - 1 ? costs.Head : 0))
        .Max();
}
