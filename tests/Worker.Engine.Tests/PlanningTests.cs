using Platform.Core.Jobs;
using Platform.Core.Validation;
using Platform.Worker.Engine.Data;
using Platform.Worker.Engine.Planning;
using Xunit;

namespace Platform.Worker.Engine.Tests;

public sealed class PlanningTests
{
    [Fact]
    public void Everything_the_engine_cannot_do_is_said_at_once_and_by_field()
    {
        var job = Gang.Job("x", 3, 8, 2, Precision.Float32, 5);
        job = job with
        {
            Model = job.Model with { Architecture = "gpt2" },
            Parallelism = job.Parallelism with { ZeroStage = 4, VirtualStages = 2, MicroBatchSize = 3 },
            Data = job.Data with { SequenceLength = 4096 },
            Resources = new ResourceSpec { Device = "cuda" },
        };

        var invalid = Assert.IsType<Validated<TrainingPlan>.Invalid>(TrainingPlan.Resolve(job, 300, null));

        Assert.Equal(
            [
                "model.architecture", "parallelism.zero_stage", "resources.device",
                "parallelism.tensor", "parallelism.tensor", "parallelism.pipeline", "parallelism.virtual_stages", "training.global_batch_size", "data.sequence_length",
            ],
            invalid.Violations.Select(violation => violation.Field));
    }

    [Fact]
    public void Micro_batches_and_tokens_that_do_not_divide_among_the_ranks_are_said_by_field()
    {
        var job = Gang.Job("x", 4, 4, 2, Precision.Float32, 5);
        job = job with
        {
            Parallelism = job.Parallelism with { SequenceParallel = true, Schedule = PipelineSchedule.Interleaved },
            Data = job.Data with { SequenceLength = 10 },
        };

        var invalid = Assert.IsType<Validated<TrainingPlan>.Invalid>(TrainingPlan.Resolve(job, 300, null));

        Assert.Equal(
            [
                "parallelism.schedule: The interleaved schedule needs a multiple of pipeline = 4 micro-batches per rank and step; there are 2.",
                "parallelism.sequence_parallel: micro_batch_size × sequence_length = 10 tokens do not divide by a tensor width of 4.",
            ],
            invalid.Violations.Select(violation => violation.ToString()));
    }

    [Theory]
    [InlineData(PipelineSchedule.GPipe, 1, 1, 1, 8)]
    [InlineData(PipelineSchedule.OneForwardOneBackward, 3, 1, 1, 6)]
    [InlineData(PipelineSchedule.Interleaved, 2, 2, 1, 10)]
    public void A_pipeline_may_have_all_its_messages_under_way(PipelineSchedule schedule, int pipeline, int virtualStages, int micro, int expected)
    {
        var job = Gang.Job("x", 1, pipeline, 1, Precision.Float32, 5);

        Assert.Equal(expected, TrainingPlan.MostMessagesUnderWay(job with
        {
            Parallelism = job.Parallelism with { Schedule = schedule, VirtualStages = virtualStages, MicroBatchSize = micro },
        }));
    }

    [Fact]
    public void A_good_job_becomes_a_plan_with_the_tokenizers_vocabulary()
    {
        var plan = Assert.IsType<Validated<TrainingPlan>.Valid>(TrainingPlan.Resolve(Gang.Job("x", 2, 2, 2, Precision.Float32, 5), 301, 7)).Value;

        Assert.Equal(301, plan.Model.VocabSize);
        Assert.Equal([7], plan.Model.EosTokenIds);
        Assert.Equal(4, plan.Model.HeadDim);
        Assert.Equal(2, plan.MicroBatches);
        Assert.Equal(48, plan.TokensPerStep);
    }

    [Theory]
    [InlineData(LearningRateSchedule.Cosine, 0.55)]
    [InlineData(LearningRateSchedule.Linear, 0.55)]
    [InlineData(LearningRateSchedule.WarmupStableDecay, 1.0)]
    [InlineData(LearningRateSchedule.Constant, 1.0)]
    public void The_learning_rate_warms_up_and_then_follows_its_schedule(LearningRateSchedule schedule, double halfway)
    {
        var optimizer = new OptimizerSpec { Lr = 1, MinLr = 0.1, WarmupSteps = 10, Schedule = schedule };

        Assert.Equal(0.1, LearningRate.At(optimizer, 110, 1), 12);
        Assert.Equal(1, LearningRate.At(optimizer, 110, 10), 12);
        Assert.Equal(halfway, LearningRate.At(optimizer, 110, 60), 12);
        Assert.Equal(schedule == LearningRateSchedule.Constant ? 1 : 0.1, LearningRate.At(optimizer, 110, 110), 12);
        var rates = Enumerable.Range(1, 110).Select(step => LearningRate.At(optimizer, 110, step)).ToList();
        Assert.True(rates.Skip(10).Zip(rates.Skip(11)).All(pair => pair.First >= pair.Second));
        if (schedule == LearningRateSchedule.WarmupStableDecay)
        {
            Assert.Equal(1, rates[87], 12);
            Assert.True(rates[88] < 1);
        }
    }

    [Fact]
    public void Each_epoch_takes_every_sequence_once_in_an_order_of_its_own()
    {
        var order = new DataOrder(3, 101, 0.1, 7);
        Assert.Equal(10, order.HeldOut.Count);
        Assert.Equal(91, order.TrainingCount);

        var epochs = Enumerable.Range(1, 39).SelectMany(order.GlobalBatch).Chunk(91).ToList();

        Assert.Equal(3, epochs.Count);
        Assert.All(epochs, epoch => Assert.Equal(Enumerable.Range(0, 101).Except(order.HeldOut), epoch.Order()));
        Assert.NotEqual(epochs[0], epochs[1]);
        Assert.Equal(order.GlobalBatch(5), new DataOrder(3, 101, 0.1, 7).GlobalBatch(5));
        Assert.NotEqual(order.GlobalBatch(5), new DataOrder(4, 101, 0.1, 7).GlobalBatch(5));
        Assert.Throws<ArgumentException>(() => new DataOrder(3, 0, 0, 7));
    }
}
