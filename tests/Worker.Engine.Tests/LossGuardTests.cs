using Platform.Core.Gangs;
using Platform.Core.Jobs;
using Platform.Formats.Checkpoints;
using Platform.Torch.Collectives;
using Platform.Worker.Engine.Training;
using Xunit;

namespace Platform.Worker.Engine.Tests;

public sealed class LossGuardTests
{
    private static readonly LossGuardSpec Spikes = new() { SpikeZScore = 3, Window = 4, MaxConsecutiveSkips = 3, MaxSkips = 4 };

    [Theory]
    [InlineData(double.NaN, 1)]
    [InlineData(double.PositiveInfinity, 1)]
    [InlineData(2, double.NaN)]
    [InlineData(2, double.PositiveInfinity)]
    public void A_step_that_is_not_finite_is_skipped_without_being_remembered(double loss, double norm)
    {
        var (verdict, state) = LossGuard.Judge(Spikes, LossGuardState.Start with { Losses = [1, 2] }, 7, loss, norm);

        Assert.Contains("Step 7 diverged", Assert.IsType<StepVerdict.Skipped>(verdict).Reason, StringComparison.Ordinal);
        Assert.Equal((1, 1), (state.SkippedSteps, state.SkippedInARow));
        Assert.Equal([1, 2], state.Losses);
    }

    [Fact]
    public void A_spike_is_what_lies_far_above_a_full_window()
    {
        var state = After([1, 1.1, 0.9], [2, 2, 2.1]);
        Assert.IsType<StepVerdict.Accepted>(Judge(state, 50, 50).Verdict); // not full yet
        state = After([1, 1.1, 0.9, 1], [2, 2, 2.1, 1.9]);

        Assert.Contains("its loss", Assert.IsType<StepVerdict.Skipped>(Judge(state, 1.3, 2).Verdict).Reason, StringComparison.Ordinal);
        Assert.Contains("the norm", Assert.IsType<StepVerdict.Skipped>(Judge(state, 1, 3).Verdict).Reason, StringComparison.Ordinal);
        Assert.IsType<StepVerdict.Accepted>(Judge(state, 0.1, 0.1).Verdict);
        Assert.IsType<StepVerdict.Accepted>(Judge(state, 1.2, 2.2).Verdict);
        Assert.IsType<StepVerdict.Accepted>(LossGuard.Judge(new(), state, 1, 100, 100).Verdict);
    }

    [Fact]
    public void Steps_with_one_and_the_same_loss_are_no_measure_of_spikes() =>
        Assert.IsType<StepVerdict.Accepted>(Judge(After([1, 1, 1, 1], [1, 1, 1, 1]), 2, 2).Verdict);

    [Fact]
    public void Too_many_skips_in_a_row_or_in_all_end_the_run()
    {
        var state = LossGuardState.Start;
        List<Type> verdicts = [];
        foreach (var loss in new[] { double.NaN, double.NaN, 1, double.NaN, double.NaN })
        {
            (var verdict, state) = Judge(state, loss, 1);
            verdicts.Add(verdict.GetType());
        }

        Assert.Equal(
            [typeof(StepVerdict.Skipped), typeof(StepVerdict.Skipped), typeof(StepVerdict.Accepted), typeof(StepVerdict.Skipped), typeof(StepVerdict.Stopped)], verdicts);
        var inARow = Judge(LossGuardState.Start with { SkippedSteps = 2, SkippedInARow = 2 }, double.NaN, 1).Verdict;
        Assert.Contains("max_consecutive_skips", Assert.IsType<StepVerdict.Stopped>(inARow).Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void What_it_remembers_survives_a_manifest()
    {
        var state = After([1, 1.0 / 3], [2, 1e-300]) with { SkippedSteps = 9, SkippedInARow = 2 };

        var back = LossGuardState.Of(System.Text.Json.Nodes.JsonNode.Parse(state.ToJson().ToJsonString()));

        Assert.Equal((state.SkippedSteps, state.SkippedInARow), (back.SkippedSteps, back.SkippedInARow));
        Assert.Equal(state.Losses, back.Losses);
        Assert.Equal(state.GradientNorms, back.GradientNorms);
        Assert.Equal(LossGuardState.Start, LossGuardState.Of(null));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    public void A_skipped_step_changes_neither_weights_nor_moments_on_any_rank_and_the_data_go_on(int zero)
    {
        using var directory = new TemporaryDirectory();
        var job = Job(directory, zero) with { Checkpoint = new CheckpointSpec { EverySteps = 1, Keep = 100 } };
        using var host = new RecordingHost();

        Gang.Run(job, Path.Combine(directory.Path, "artifacts"), host, decorate: world => new CorruptingWorld(world, 3, zero));

        // Step 3 has no finite loss to report; every other step has a point.
        Assert.Equal([1, 2, 4, 5, 6], host.Points.Select(point => point.Step));
        Assert.Equal([0, 0, 1, 1, 1], host.Points.Select(point => point.SkippedSteps));
        var saved = host.Checkpoints.ToDictionary(checkpoint => checkpoint.Step, checkpoint => Path.Combine(directory.Path, "artifacts", checkpoint.Directory));
        Assert.Equal(Hashes(saved[2]), Hashes(saved[3]));
        Assert.NotEqual(Hashes(saved[3]), Hashes(saved[4]));
        Assert.Equal(3 * job.Training.GlobalBatchSize, CheckpointManifest.Read(saved[3]).Header.DataPosition);

        // Step 4 takes the samples of step 4 with the weights after step 2.
        using var again = new RecordingHost();
        Gang.Run(job, Path.Combine(directory.Path, "again"), again, decorate: world => new CorruptingWorld(world, 3, zero));
        Assert.Equal(host.Points.Select(point => point.Loss), again.Points.Select(point => point.Loss));
    }

    [Fact]
    public void A_run_that_skipped_resumes_bit_for_bit()
    {
        using var directory = new TemporaryDirectory();
        var job = Job(directory, 1);
        job = job with { Training = job.Training with { LossGuard = new LossGuardSpec { SpikeZScore = 2, Window = 3, MaxConsecutiveSkips = 50 } } };
        using var through = new RecordingHost();
        Gang.Run(job, Path.Combine(directory.Path, "through"), through, decorate: world => new CorruptingWorld(world, 2, 1));

        var artifacts = Path.Combine(directory.Path, "interrupted");
        RecordingHost? first = null;
        using (first = new RecordingHost { OnPoint = point => { if (point.Step == 3) first!.RequestStop(checkpoint: true); } })
            Gang.Run(job, artifacts, first, decorate: world => new CorruptingWorld(world, 2, 1));
        using var second = new RecordingHost();
        Gang.Run(job, artifacts, second, attempt: 2, resumeFrom: first.Checkpoints.Single().Directory);

        Assert.True(through.Points.Last().SkippedSteps > 0);
        Assert.Equal(through.Points.Last().SkippedSteps, second.Points.Last().SkippedSteps);
        Assert.Equal(through.Points.Last().Loss, second.Points.Last().Loss);
        Assert.Equal(
            Hashes(Path.Combine(directory.Path, "through", through.Checkpoints.Last().Directory)),
            Hashes(Path.Combine(artifacts, second.Checkpoints.Last().Directory)));
    }

    [Fact]
    public void A_job_whose_every_step_is_skipped_fails_as_diverged()
    {
        using var directory = new TemporaryDirectory();
        using var host = new RecordingHost();

        var failure = Assert.Throws<DivergedException>(() => Gang.Run(
            Job(directory, 0), Path.Combine(directory.Path, "artifacts"), host, decorate: world => new CorruptingWorld(world, null, 0)));

        Assert.Equal(5, failure.Step);
        Assert.Contains("5 steps in a row", failure.Message, StringComparison.Ordinal);
        Assert.Equal((FailureCode.Diverged, true), (RankFailure.Of(failure).Code, RankFailure.Of(failure).IsPermanent));
    }

    private static TrainingJobSpec Job(TemporaryDirectory directory, int zero)
    {
        var job = Gang.Job(directory.Write("text.txt", Gang.SomeText(2000)), 1, 2, 2, Precision.Float32, steps: 6);
        return job with { Parallelism = job.Parallelism with { ZeroStage = zero }, Data = job.Data with { EvalFraction = 0 }, Training = job.Training with { EvalEvery = 0 } };
    }

    private static LossGuardState After(double[] losses, double[] norms) =>
        LossGuardState.Start with { Losses = [.. losses], GradientNorms = [.. norms] };

    private static (StepVerdict Verdict, LossGuardState State) Judge(LossGuardState state, double loss, double norm) =>
        LossGuard.Judge(Spikes, state, 1, loss, norm);

    private static SortedDictionary<string, string> Hashes(string checkpoint)
    {
        using var reader = CheckpointReader.Open(checkpoint, CheckpointVerification.Hashes);
        return new(reader.Manifest.Tensors.Keys.ToDictionary(name => name, reader.Sha256), StringComparer.Ordinal);
    }

    /// <summary>Turns a gradient into not-a-number on its way over the data group, in one step or in all.</summary>
    private sealed class CorruptingWorld(ICollectiveWorld inner, int? step, int zero) : ICollectiveWorld
    {
        public int Rank => inner.Rank;

        public int Size => inner.Size;

        public string? AbortReason => inner.AbortReason;

        public CancellationToken Aborted => inner.Aborted;

        public ICollectiveGroup CreateGroup(string name, IReadOnlyList<int> members)
        {
            var group = inner.CreateGroup(name, members);
            return name == "data group 0" ? new CorruptingGroup(group, step, zero) : group;
        }

        public IReadOnlyList<CollectiveStatus> Status() => inner.Status();

        public void Abort(string reason) => inner.Abort(reason);

        public void Dispose() => inner.Dispose();
    }

    private sealed unsafe class CorruptingGroup(ICollectiveGroup inner, int? step, int zero) : ICollectiveGroup
    {
        // Two micro-batches, a stage of the embedding and three layers: four units, reduced once a step, or for each micro-batch.
        private const int UnitsOfStage = 4;
        private int _reductions;

        public string Name => inner.Name;

        public int Rank => inner.Rank;

        public int Size => inner.Size;

        public IReadOnlyList<int> Members => inner.Members;

        public long Sequence => inner.Sequence;

        public CollectiveStatus Status => inner.Status;

        public void AllReduce(CollectiveBuffer buffer, ReduceOperation operation)
        {
            inner.AllReduce(buffer, operation);
            Corrupt(buffer);
        }

        public void ReduceScatter(CollectiveBuffer input, CollectiveBuffer output, ReduceOperation operation)
        {
            inner.ReduceScatter(input, output, operation);
            Corrupt(output);
        }

        public void AllGather(CollectiveBuffer input, CollectiveBuffer output) => inner.AllGather(input, output);

        public void Broadcast(CollectiveBuffer buffer, int root) => inner.Broadcast(buffer, root);

        public void Barrier() => inner.Barrier();

        public void Send(CollectiveBuffer buffer, int peer) => inner.Send(buffer, peer);

        public void Receive(CollectiveBuffer buffer, int peer) => inner.Receive(buffer, peer);

        public void SendReceive(CollectiveBuffer send, int destination, CollectiveBuffer receive, int source) =>
            inner.SendReceive(send, destination, receive, source);

        public void Abort(string reason) => inner.Abort(reason);

        public void Dispose() => inner.Dispose();

        private void Corrupt(CollectiveBuffer buffer)
        {
            var now = (_reductions++ / (UnitsOfStage * (zero > 1 ? 2 : 1))) + 1;
            if (step is null || now == step)
                *(float*)buffer.Address = float.NaN;
        }
    }
}
