using Platform.Core.Gangs;
using Platform.Core.Jobs;
using Platform.Torch.Timelines;
using TorchSharp;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Parallel;

/// <summary>Tokens of a micro-batch, and the token after each of them.</summary>
/// <param name="Tokens_N">Int64 ids, sequence by sequence; the first stage needs them.</param>
/// <param name="Targets_N">Int64 successors; the last stage needs them.</param>
/// <param name="Sequences">Number of sequences.</param>
public sealed record MicroBatch(Tensor Tokens_N, Tensor Targets_N, int Sequences)
{
    /// <summary>A micro-batch of copies of the ids, in the caller's dispose scope.</summary>
    /// <param name="tokens">Ids, sequence by sequence.</param>
    /// <param name="targets">The id after each of them.</param>
    /// <param name="sequences">Number of sequences.</param>
    public static MicroBatch Create(ReadOnlySpan<long> tokens, ReadOnlySpan<long> targets, int sequences) => new(
        TensorMemory.FromSpan(tokens, [tokens.Length], torch.ScalarType.Int64),
        TensorMemory.FromSpan(targets, [targets.Length], torch.ScalarType.Int64),
        sequences);
}

/// <summary>Runs micro-batches through a stage and talks to the stages before and after it.</summary>
/// <param name="groups">The rank's groups.</param>
/// <param name="stage">The rank's part of the model.</param>
/// <param name="schedule">Order of the work.</param>
/// <param name="recorder">Takes where the time goes; null for nobody.</param>
public sealed class PipelineRunner(ParallelGroups groups, ParallelStage stage, PipelineSchedule schedule, StepRecorder? recorder = null)
{
    private readonly StepRecorder _recorder = recorder ?? new StepRecorder(1);

    /// <summary>
    /// Adds the gradients of a step's micro-batches to the store.
    /// </summary>
    /// <param name="microBatches">How many there are, the same on every rank.</param>
    /// <param name="load">Gives each in the order of its number, in a dispose scope of the runner's.</param>
    /// <param name="lossScale">Weight of a token's loss: 1 / tokens of the global batch.</param>
    /// <returns>Sum over this rank's tokens of their cross-entropy in nats; 0 on other stages than the last.</returns>
    public double Train(int microBatches, Func<int, MicroBatch> load, double lossScale)
    {
        ArgumentNullException.ThrowIfNull(load);
        var inFlight = new Dictionary<int, (ActivationTape Tape, int Sequences)>();
        var lossSum = 0.0;
        try
        {
            foreach (var action in PipelineScheduleBuilder.Build(schedule, groups.Coordinate.Pipeline, groups.Mesh.Pipeline, microBatches))
            {
                using var scope = torch.NewDisposeScope();
                if (action.Kind == PipelineActionKind.Forward)
                {
                    var microBatch = Load(load, action.MicroBatch);
                    var tape = new ActivationTape();
                    inFlight.Add(action.MicroBatch, (tape, microBatch.Sequences));
                    using var forward = _recorder.Begin(StepPart.Compute, "forward", action.MicroBatch);
                    lossSum += Forward(microBatch, lossScale, tape);
                    continue;
                }

                var (kept, sequences) = inFlight[action.MicroBatch];
                using var backward = _recorder.Begin(StepPart.Compute, "backward", action.MicroBatch);
                Backward(sequences, kept);
                inFlight.Remove(action.MicroBatch);
                kept.Dispose();
            }
        }
        finally
        {
            foreach (var (tape, _) in inFlight.Values)
                tape.Dispose();
        }

        return lossSum;
    }

    /// <summary>Losses of one micro-batch without gradients.</summary>
    /// <param name="load">Gives the micro-batch.</param>
    /// <returns>Sum of the cross-entropy of each sequence in nats; empty on other stages than the last.</returns>
    public double[] Evaluate(Func<MicroBatch> load)
    {
        ArgumentNullException.ThrowIfNull(load);
        using var scope = torch.NewDisposeScope();
        var microBatch = load();
        var hidden = Enter(microBatch, null);
        if (!groups.IsLastStage)
        {
            groups.Pipeline.Send(hidden, groups.Coordinate.Pipeline + 1);
            return [];
        }

        using var sums = stage.Evaluate(hidden, microBatch.Targets_N)
            .view(microBatch.Sequences, stage.SequenceLength).sum(1, type: torch.ScalarType.Float64);
        return TensorMemory.Span<double>(sums).ToArray();
    }

    private MicroBatch Load(Func<int, MicroBatch> load, int number)
    {
        using var span = _recorder.Begin(StepPart.Data, "load", number);
        return load(number);
    }

    private double Forward(MicroBatch microBatch, double lossScale, ActivationTape tape)
    {
        var hidden = Enter(microBatch, tape);
        if (!groups.IsLastStage)
        {
            groups.Pipeline.Send(hidden, groups.Coordinate.Pipeline + 1);
            return 0;
        }

        using var loss = stage.Loss(hidden, microBatch.Targets_N, lossScale, tape);
        return loss.sum(torch.ScalarType.Float64).item<double>();
    }

    private Tensor Enter(MicroBatch microBatch, ActivationTape? tape)
    {
        if (groups.IsFirstStage)
            return stage.ForwardTokens(microBatch.Tokens_N, microBatch.Sequences, tape);
        var received = stage.EmptyHidden(microBatch.Sequences);
        groups.Pipeline.Receive(received, groups.Coordinate.Pipeline - 1);
        return stage.ForwardHidden(received, microBatch.Sequences, tape);
    }

    private void Backward(int sequences, ActivationTape tape)
    {
        Tensor gradient;
        if (groups.IsLastStage)
        {
            gradient = stage.BackwardLoss(tape);
        }
        else
        {
            gradient = stage.EmptyHidden(sequences);
            groups.Pipeline.Receive(gradient, groups.Coordinate.Pipeline + 1);
        }

        var before = stage.Backward(gradient, sequences, tape);
        if (!groups.IsFirstStage)
            groups.Pipeline.Send(before, groups.Coordinate.Pipeline - 1);
    }
}
