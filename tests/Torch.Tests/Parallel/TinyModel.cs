using Platform.Core.Jobs;
using Platform.Core.Models;
using Platform.Core.Parallelism;
using Platform.Formats.Checkpoints;
using Platform.Torch.Models.Llama;
using Platform.Torch.Parallel;
using Platform.Torch.Parallel.Layers;
using Platform.Torch.Parallel.Parameters;
using Platform.Torch.Tests.Reference;
using static TorchSharp.torch;

namespace Platform.Torch.Tests.Parallelism;

/// <summary>A way of training the tiny model.</summary>
internal sealed record TinyLayout(int Tensor, int Pipeline, int Data)
{
    public int VirtualStages { get; init; } = 1;

    public bool SequenceParallel { get; init; }

    public PipelineSchedule Schedule { get; init; } = PipelineSchedule.OneForwardOneBackward;

    public PipelineExchange Exchange { get; init; } = PipelineExchange.Buffered;

    public ActivationCheckpointing Checkpointing { get; init; } = ActivationCheckpointing.None;

    public ZeroStage Zero { get; init; } = ZeroStage.None;

    /// <summary>Sequences per micro-batch.</summary>
    public int Sequences { get; init; } = 1;

    public DeviceMesh Mesh => new(Tensor, Pipeline, Data);
}

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
    /// Each rank's gradients after one step of the sequences, by the name of the weight and the part of it; what a rank does
    /// not own is left out.
    /// </summary>
    public static IReadOnlyList<(double Loss, List<(LlamaParameter Parameter, TensorBox Box, double[] Values)> Gradients)> StepGradients(
        ModelConfig config, TinyLayout layout, TrainingTypes types, long[] tokens, long[] targets)
    {
        var mesh = layout.Mesh;
        return InProcessRanks.Run(mesh.WorldSize, world =>
        {
            using var groups = ParallelGroups.Create(world, mesh, config.TieWordEmbeddings);
            using var store = new ParameterStore(
                StageLayout.Create(
                    config, mesh, groups.Coordinate, new LayoutSettings(SequenceLength, layout.VirtualStages, layout.SequenceParallel)),
                new ParameterStorage(types, layout.Zero));
            store.Initialise(7);
            using var exchange = new DataParallelExchange(groups, store);
            var chunks = ParallelStage.CreateAll(groups, store, SequenceLength, layout.Checkpointing, exchange);
            var sequences = tokens.Length / SequenceLength / mesh.Data;
            var first = groups.Coordinate.Data * sequences;
            exchange.BeginStep(sequences / layout.Sequences);
            var loss = new PipelineRunner(groups, chunks, layout.Schedule, layout.Exchange).Train(
                sequences / layout.Sequences,
                layout.Sequences,
                i => new MicroBatch(Rows(tokens, first + (i * layout.Sequences)), Rows(targets, first + (i * layout.Sequences)), layout.Sequences),
                1.0 / tokens.Length);
            exchange.FinishGradients();
            foreach (var chunk in chunks)
                chunk.Dispose();
            var gradients = new List<(LlamaParameter, TensorBox, double[])>();
            foreach (var piece in store.Pieces(StateKind.Gradient).Where(piece => store.SavesState && store.Layout.Owns(piece.Bundle)))
            {
                using var view = store.View(piece);
                gradients.Add((piece.Parameter, piece.Box, Compare.Values(view)));
            }

            return (groups.Coordinate.Tensor == 0 ? loss / tokens.Length : 0, gradients);
        });

        Tensor Rows(long[] ids, int sequence) => TensorMemory.FromSpan<long>(
            ids.AsSpan(sequence * SequenceLength, layout.Sequences * SequenceLength), [layout.Sequences * SequenceLength], ScalarType.Int64);
    }
}
