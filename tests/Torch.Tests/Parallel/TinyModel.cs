using Platform.Core.Models;
using Platform.Core.Parallelism;
using Platform.Formats.Checkpoints;
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
    public static IReadOnlyList<(double Loss, List<(LlamaParameter Parameter, TensorBox Box, double[] Values)> Gradients)> StepGradients(
        ModelConfig config, DeviceMesh mesh, TrainingTypes types, Core.Jobs.PipelineSchedule schedule,
        Platform.Torch.Parallel.Layers.ActivationCheckpointing checkpointing, long[] tokens, long[] targets, ZeroStage zero = ZeroStage.None)
    {
        return InProcessRanks.Run(mesh.WorldSize, world =>
        {
            using var groups = ParallelGroups.Create(world, mesh, config.TieWordEmbeddings);
            using var store = new ParameterStore(StageLayout.Create(config, mesh, groups.Coordinate), new ParameterStorage(types, zero));
            store.Initialise(7);
            using var exchange = new DataParallelExchange(groups, store);
            using var stage = new ParallelStage(groups, store, SequenceLength, checkpointing, exchange);
            var sequences = tokens.Length / SequenceLength / mesh.Data;
            var first = groups.Coordinate.Data * sequences;
            exchange.BeginStep(sequences);
            var loss = new PipelineRunner(groups, stage, schedule).Train(
                sequences,
                i => new MicroBatch(Row(tokens, first + i), Row(targets, first + i), 1),
                1.0 / tokens.Length);
            exchange.FinishGradients();
            var gradients = new List<(LlamaParameter, TensorBox, double[])>();
            foreach (var piece in store.Pieces(StateKind.Gradient).Where(piece => store.SavesState && store.Layout.Owns(piece.Bundle)))
            {
                using var view = store.View(piece);
                gradients.Add((piece.Parameter, piece.Box, Compare.Values(view)));
            }

            return (groups.Coordinate.Tensor == 0 ? loss / tokens.Length : 0, gradients);
        });

        static Tensor Row(long[] ids, int sequence) => TensorMemory.FromSpan<long>(
            ids.AsSpan(sequence * SequenceLength, SequenceLength), [SequenceLength], ScalarType.Int64);
    }
}
