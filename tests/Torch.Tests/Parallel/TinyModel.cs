using Platform.Core.Models;
using Platform.Core.Parallelism;
using Platform.Torch.Models.Llama;
using Platform.Torch.Parallel;
using Platform.Torch.Parallel.Parameters;
using Platform.Torch.Tests.Reference;
using static TorchSharp.torch;

namespace Platform.Torch.Tests.Parallelism;

/// <summary>A model small enough to train thousands of times: grouped-query attention, and a vocabulary that no width divides.</summary>
internal static class TinyModel
{
    public const int SequenceLength = 6;

    public static ModelConfig Config { get; } = new()
    {
        Architecture = "llama",
        VocabSize = 23,
        HiddenSize = 24,
        IntermediateSize = 20,
        NumHiddenLayers = 5,
        NumAttentionHeads = 8,
        NumKeyValueHeads = 4,
        HeadDim = 6,
        MaxPositionEmbeddings = 16,
    };

    public static long[] Tokens(int seed, int count)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => (long)random.Next(Config.VocabSize))];
    }

    /// <summary>
    /// Each rank's gradients after one step of four sequences, by the name of the weight and the part of it; what a rank does
    /// not own is left out.
    /// </summary>
    public static IReadOnlyList<(double Loss, List<(LlamaParameter Parameter, TensorSlice Slice, double[] Values)> Gradients)> StepGradients(
        ModelConfig config, DeviceMesh mesh, TrainingTypes types, Core.Jobs.PipelineSchedule schedule,
        Platform.Torch.Parallel.Layers.ActivationCheckpointing checkpointing, long[] tokens, long[] targets)
    {
        return InProcessRanks.Run(mesh.WorldSize, world =>
        {
            using var groups = ParallelGroups.Create(world, mesh, config.TieWordEmbeddings);
            using var store = new ParameterStore(StageLayout.Create(config, mesh, groups.Coordinate), types);
            store.Initialise(7);
            using var stage = new ParallelStage(groups, store, SequenceLength, checkpointing);
            var sequences = tokens.Length / SequenceLength / mesh.Data;
            var first = groups.Coordinate.Data * sequences;
            var loss = new PipelineRunner(groups, stage, schedule).Train(
                sequences,
                i => new MicroBatch(Row(tokens, first + i), Row(targets, first + i), 1),
                1.0 / tokens.Length);
            var optimizer = new ParallelAdamW(groups, store, new AdamWSettings(0.9, 0.95, 1e-8, 0.1, 1));
            optimizer.ReduceGradients();
            var gradients = new List<(LlamaParameter, TensorSlice, double[])>();
            foreach (var parameter in store.Parameters.Where(p => store.Layout.Owns(p.Bundle) && groups.Coordinate.Data == 0))
            {
                foreach (var part in parameter.Bundle.Parts)
                {
                    using var view = store.PartView(StateKind.Gradient, parameter, part);
                    gradients.Add((part.Parameter, part.Slice, Compare.Values(view)));
                }
            }

            return (groups.Coordinate.Tensor == 0 ? loss / tokens.Length : 0, gradients);
        });

        static Tensor Row(long[] ids, int sequence) => TensorMemory.FromSpan<long>(
            ids.AsSpan(sequence * SequenceLength, SequenceLength), [SequenceLength], ScalarType.Int64);
    }
}
