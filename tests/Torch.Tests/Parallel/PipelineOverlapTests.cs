using Platform.Core.Jobs;
using Platform.Core.Parallelism;
using Platform.Torch.Parallel;
using Platform.Torch.Parallel.Layers;
using Platform.Torch.Parallel.Parameters;
using Xunit;

namespace Platform.Torch.Tests.Parallelism;

/// <summary>What stages wait for, by events instead of clocks.</summary>
public sealed class PipelineOverlapTests
{
    /// <summary>
    /// The other stages begin nothing before the first one has begun the last forward for which it needs none of them, so all
    /// its earlier activations have to be sent by then. If a send waited for the receiver, all would wait forever.
    /// </summary>
    [Theory]
    [InlineData(PipelineSchedule.GPipe, 1, 7)]
    [InlineData(PipelineSchedule.OneForwardOneBackward, 1, 3)]
    [InlineData(PipelineSchedule.Interleaved, 2, 3)]
    public void A_stage_goes_on_computing_while_what_it_sent_waits_for_its_receiver(PipelineSchedule schedule, int virtualStages, int ahead)
    {
        var shape = new PipelineShape(4, 8, virtualStages);
        var config = TinyModel.Config with { NumHiddenLayers = 8 };
        var ids = TinyModel.Tokens(1, TinyModel.SequenceLength);
        using var isAhead = new ManualResetEventSlim();

        var losses = InProcessRanks.Run(
            shape.Stages,
            world =>
            {
                var mesh = new DeviceMesh(1, shape.Stages, 1);
                using var groups = ParallelGroups.Create(world, mesh, false);
                using var store = new ParameterStore(
                    StageLayout.Create(config, mesh, groups.Coordinate, new LayoutSettings(TinyModel.SequenceLength, virtualStages, false)),
                    TrainingTypes.Float32);
                store.Initialise(1);
                var chunks = ParallelStage.CreateAll(groups, store, TinyModel.SequenceLength, ActivationCheckpointing.None);
                if (!groups.IsFirstStage)
                    Assert.True(isAhead.Wait(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken), "The first stage waits for the others.");
                var loss = new PipelineRunner(groups, chunks, schedule, PipelineExchange.Buffered).Train(shape.MicroBatches, 1, Load, 1);
                foreach (var chunk in chunks)
                    chunk.Dispose();
                return loss;

                MicroBatch Load(int microBatch)
                {
                    if (groups.IsFirstStage && microBatch == ahead)
                        isAhead.Set();
                    return MicroBatch.Create(ids, ids, 1);
                }
            },
            PipelineSchedules.MostInFlight(schedule, shape, 0));

        Assert.True(losses[^1] > 0);
    }

    [Theory]
    [InlineData(1, 12)]
    [InlineData(2, 6)]
    [InlineData(4, 3)]
    public void With_a_divided_sequence_stages_exchange_only_their_rows(int tensor, int rows)
    {
        var sizes = InProcessRanks.Run(tensor * 2, world =>
        {
            var mesh = new DeviceMesh(tensor, 2, 1);
            using var groups = ParallelGroups.Create(world, mesh, false);
            using var store = new ParameterStore(
                StageLayout.Create(TinyModel.Config, mesh, groups.Coordinate, new LayoutSettings(TinyModel.SequenceLength, 1, true)), TrainingTypes.Float32);
            using var stage = ParallelStage.CreateAll(groups, store, TinyModel.SequenceLength, ActivationCheckpointing.None).Single();
            using var hidden = stage.EmptyHidden(2);
            return hidden.shape[0];
        });

        Assert.All(sizes, size => Assert.Equal(rows, size));
    }
}
