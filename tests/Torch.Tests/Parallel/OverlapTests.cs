using System.Collections.Concurrent;
using Platform.Core.Jobs;
using Platform.Core.Parallelism;
using Platform.Torch.Collectives;
using Platform.Torch.Parallel;
using Platform.Torch.Parallel.Layers;
using Platform.Torch.Parallel.Parameters;
using Platform.Torch.Tests.Reference;
using Xunit;

namespace Platform.Torch.Tests.Parallelism;

/// <summary>Communication of a data group beside the computation: shown by the order of events, never by time.</summary>
public sealed class OverlapTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);
    private static readonly DeviceMesh TwoDataRanks = new(1, 1, 2);

    /// <summary>
    /// Units are reduced from the head down: head, norm, layer 4. The third reduction waits until layer 3's backward is
    /// complete, which would be forever if the computation waited for the reduction; and that waits for the third reduction.
    /// </summary>
    [Theory]
    [InlineData(ZeroStage.None)]
    [InlineData(ZeroStage.OptimizerState)]
    [InlineData(ZeroStage.Gradients)]
    [InlineData(ZeroStage.Parameters)]
    public void A_layers_gradients_are_reduced_while_the_layer_before_it_computes(ZeroStage zero) =>
        Assert.All(Meet(zero, "reduce", 3, ExchangeEvent.GradientsComplete, layer: 3), Assert.True);

    /// <summary>
    /// Units are gathered in forward order: embedding, layer 0, layer 1. Layer 0's computation and layer 1's gathering wait for
    /// each other to begin.
    /// </summary>
    [Theory]
    [InlineData(ZeroStage.OptimizerState)]
    [InlineData(ZeroStage.Gradients)]
    [InlineData(ZeroStage.Parameters)]
    public void A_layers_weights_are_gathered_while_the_layer_before_it_computes(ZeroStage zero) =>
        Assert.All(Meet(zero, "gather", 3, ExchangeEvent.WeightsUsed, layer: 0), Assert.True);

    [Fact]
    public void Without_overlap_every_reduction_is_over_before_the_computation_goes_on()
    {
        var log = new ConcurrentQueue<string>();
        Run(TwoDataRanks, ZeroStage.None, overlap: false, world => world.Rank == 0 ? (kind, number) => log.Enqueue($"{kind} {number}") : null,
            rank => rank == 0 ? (what, unit) => log.Enqueue($"{what} {unit.Index}") : null);

        // Units 0 to 7: embedding, five layers, norm, head.
        string[] expected = [.. new[] { 7, 6, 5, 4, 3, 2, 1, 0 }.SelectMany((unit, i) => new[] { $"GradientsComplete {unit}", $"reduce {i + 1}" })];
        Assert.Equal(expected, log.Where(entry => !entry.StartsWith("WeightsUsed", StringComparison.Ordinal)));
    }

    [Theory]
    [InlineData(ZeroStage.None)]
    [InlineData(ZeroStage.OptimizerState)]
    [InlineData(ZeroStage.Gradients)]
    [InlineData(ZeroStage.Parameters)]
    public void Overlap_changes_no_bit(ZeroStage zero)
    {
        var mesh = new DeviceMesh(2, 2, 2);
        var beside = Run(mesh, zero, overlap: true, _ => null, _ => null);
        var after = Run(mesh, zero, overlap: false, _ => null, _ => null);

        Assert.Equal(after.Select(rank => rank.Gradients), beside.Select(rank => rank.Gradients));
    }

    [Fact]
    public void A_failed_collective_fails_the_computation_and_leaves_no_thread()
    {
        var exchanges = new ConcurrentBag<DataParallelExchange>();

        var failure = Assert.Throws<InvalidOperationException>(() => Run(
            TwoDataRanks, ZeroStage.Parameters, overlap: true,
            world => world.Rank == 1
                ? (kind, number) => { if (kind == "reduce" && number == 2) throw new InvalidOperationException("the cable is cut"); }
            : null,
            _ => null, exchanges));

        Assert.Equal("the cable is cut", failure.Message);
        Assert.Equal(2, exchanges.Count);
        Assert.All(exchanges, exchange => Assert.False(exchange.IsRunning));
    }

    [Fact]
    public void A_failed_computation_ends_its_communication_and_leaves_no_thread()
    {
        var exchanges = new ConcurrentBag<DataParallelExchange>();

        var failure = Assert.Throws<InvalidOperationException>(() => Run(
            TwoDataRanks, ZeroStage.OptimizerState, overlap: true, _ => null,
            rank => rank == 1
                ? (what, unit) => { if (what == ExchangeEvent.GradientsComplete && unit.Layer == 2) throw new InvalidOperationException("out of memory"); }
            : null,
            exchanges));

        Assert.Equal("out of memory", failure.Message);
        Assert.All(exchanges, exchange => Assert.False(exchange.IsRunning));
    }

    [Fact]
    public void Sharding_divides_the_bytes_of_a_rank()
    {
        var config = TinyModel.Config with { HiddenSize = 64, IntermediateSize = 256, HeadDim = 8 };
        var bytes = Enum.GetValues<ZeroStage>().Select(zero =>
        {
            using var store = new ParameterStore(
                StageLayout.Create(config, new DeviceMesh(1, 1, 4), new MeshCoordinate(0, 0, 0), new LayoutSettings(TinyModel.SequenceLength, 1, false)), new ParameterStorage(TrainingTypes.BFloat16, zero));
            return store.ByteLength;
        }).ToArray();

        // bf16 weights, fp32 gradients, masters and two moments: 18 bytes, then 6 + 12/4, 2 + 16/4 and 18/4; besides, memory for
        // the gradients, or weights and gradients, of two layers and one table.
        var elements = bytes[0] / 18;
        var layer = (double)(elements - (2 * 23 * 64) - 64) / 5;
        var inUse = (2 * layer) + (23 * 64) + 64;
        double[] expected = [18 * elements, 9 * elements, (6 * elements) + (4 * inUse), (4.5 * elements) + (6 * inUse)];
        Assert.All(expected.Zip(bytes), pair => Assert.InRange(pair.Second / pair.First, 0.98, 1.02));
    }

    /// <summary>
    /// Lets one collective of each rank and something that its computation does wait for each other; whether they met. They
    /// do only if both are under way at once.
    /// </summary>
    private static bool[] Meet(ZeroStage zero, string kind, int number, ExchangeEvent what, int layer)
    {
        var came = new ConcurrentBag<bool>();
        ManualResetEventSlim[] begun = [new(), new()], happened = [new(), new()];
        Run(
            TwoDataRanks, zero, overlap: true,
            world => (k, n) => { if (k == kind && n == number) WaitFor(begun[world.Rank], happened[world.Rank]); },
            rank => (w, unit) => { if (w == what && unit.Layer == layer && !happened[rank].IsSet) WaitFor(happened[rank], begun[rank]); });
        Assert.Equal(4, came.Count);
        foreach (var each in begun.Concat(happened))
            each.Dispose();
        return [.. came];

        void WaitFor(ManualResetEventSlim here, ManualResetEventSlim there)
        {
            here.Set();
            came.Add(there.Wait(Patience));
        }
    }

    private static IReadOnlyList<(double Loss, double[][] Gradients)> Run(
        DeviceMesh mesh, ZeroStage zero, bool overlap, Func<ICollectiveWorld, Action<string, int>?> before,
        Func<int, Action<ExchangeEvent, ParameterUnit>?> observer, ConcurrentBag<DataParallelExchange>? exchanges = null)
    {
        var (tokens, targets) = (TinyModel.Tokens(1, 4 * TinyModel.SequenceLength), TinyModel.Tokens(2, 4 * TinyModel.SequenceLength));
        return InProcessRanks.Run(mesh.WorldSize, world =>
        {
            using var groups = ParallelGroups.Create(
                before(world) is { } call ? new DecoratedWorld(world, call) : world, mesh, tiedEmbedding: false);
            using var store = new ParameterStore(
                StageLayout.Create(TinyModel.Config, mesh, groups.Coordinate, new LayoutSettings(TinyModel.SequenceLength, 1, false)), new ParameterStorage(TrainingTypes.BFloat16, zero));
            store.Initialise(7);
            using var exchange = new DataParallelExchange(groups, store, overlap) { Observer = observer(world.Rank) };
            exchanges?.Add(exchange);
            var chunks = ParallelStage.CreateAll(groups, store, TinyModel.SequenceLength, ActivationCheckpointing.None, exchange);
            exchange.BeginStep(1);
            var loss = new PipelineRunner(groups, chunks, PipelineSchedule.OneForwardOneBackward, PipelineExchange.Buffered).Train(
                1, 2, _ => MicroBatch.Create(Mine(tokens, groups), Mine(targets, groups), 2), 1.0 / tokens.Length);
            exchange.FinishGradients();
            foreach (var chunk in chunks)
                chunk.Dispose();
            return (loss, store.Pieces(StateKind.Gradient).Select(piece =>
            {
                using var view = store.View(piece);
                return Compare.Values(view);
            }).ToArray());
        });

        static ReadOnlySpan<long> Mine(long[] ids, ParallelGroups groups) =>
            ids.AsSpan(groups.Coordinate.Data * 2 * TinyModel.SequenceLength, 2 * TinyModel.SequenceLength);
    }
}
