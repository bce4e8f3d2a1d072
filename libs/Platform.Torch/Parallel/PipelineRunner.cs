using Platform.Core.Gangs;
using Platform.Core.Jobs;
using Platform.Core.Parallelism;
using Platform.Torch.Cuda;
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
    /// <param name="device">Where the ids are needed; null for the CPU.</param>
    /// <param name="staging">Brings them there without waiting; null to wait for the copy.</param>
    public static MicroBatch Create(
        ReadOnlySpan<long> tokens, ReadOnlySpan<long> targets, int sequences, torch.Device? device = null, PinnedStaging? staging = null) =>
        new(Ids(tokens, device, staging), Ids(targets, device, staging), sequences);

    private static Tensor Ids(ReadOnlySpan<long> ids, torch.Device? device, PinnedStaging? staging)
    {
        if (staging is not null && device is not null)
            return staging.Ids(ids, device);
        var onHost = TensorMemory.FromSpan(ids, [ids.Length], torch.ScalarType.Int64);
        return device is null || device.type == DeviceType.CPU ? onHost : onHost.to(device);
    }
}

/// <summary>
/// Runs micro-batches through a rank's chunks of the model and exchanges activations and gradients with the stages around
/// it, as <see cref="PipelinePrograms"/> lays down. A send is over once its payload is copied away, so the next computation
/// begins at once; receives are begun before the computation that comes before them (<see cref="PostedReceives"/>), so what they
/// wait for is the computation of other stages, not the way of its result.
/// </summary>
/// <param name="groups">The rank's groups.</param>
/// <param name="chunks">The rank's parts of the model, one per virtual stage, in order.</param>
/// <param name="schedule">Order of the work.</param>
/// <param name="exchange">How the pipeline group's messages travel.</param>
/// <param name="recorder">Takes where the time goes; null for nobody.</param>
public sealed class PipelineRunner(
    ParallelGroups groups, IReadOnlyList<ParallelStage> chunks, PipelineSchedule schedule, PipelineExchange exchange, StepRecorder? recorder = null)
{
    private readonly StepRecorder _recorder = recorder ?? new StepRecorder(1);
    private (int MicroBatches, IReadOnlyList<PipelineStep> Steps) _program = (0, []);

    private int Stage => groups.Coordinate.Pipeline;

    /// <summary>
    /// Adds the gradients of a step's micro-batches to the store.
    /// </summary>
    /// <param name="microBatches">How many there are, the same on every rank.</param>
    /// <param name="sequences">Sequences in each of them.</param>
    /// <param name="load">Gives each by its number, in a dispose scope of the runner's; asked for only where tokens or targets are needed.</param>
    /// <param name="lossScale">Weight of a token's loss: 1 / tokens of the global batch.</param>
    /// <returns>Sum over this rank's tokens of their cross-entropy in nats; 0 on other stages than the last.</returns>
    public double Train(int microBatches, int sequences, Func<int, MicroBatch> load, double lossScale)
    {
        ArgumentNullException.ThrowIfNull(load);
        var program = Program(microBatches);
        using var state = new PipelineStepState();
        using var receives = new PostedReceives(groups.Pipeline, () => chunks[0].EmptyHidden(sequences), program);
        receives.Post();
        var lossSum = 0.0;
        foreach (var step in program)
        {
            using var scope = torch.NewDisposeScope();
            foreach (var transfer in step.Sends)
                Send(transfer, state);
            lossSum += step.Action is { Kind: PipelineActionKind.Forward, Chunk: var chunk } forward && NeedsTokens(chunks[chunk])
                ? Compute(step, sequences, Load(load, forward.MicroBatch), lossScale, state, receives)
                : Compute(step, sequences, null, lossScale, state, receives);
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
        var (stages, losses) = (groups.Mesh.Pipeline, Array.Empty<double>());
        Tensor? passedOn = null;
        foreach (var chunk in chunks)
        {
            var hidden = chunk.IsFirst
                ? chunk.ForwardTokens(microBatch.Tokens_N, microBatch.Sequences, null)
                : chunk.ForwardHidden(passedOn ?? Receive((Stage + stages - 1) % stages, microBatch.Sequences), microBatch.Sequences, null);
            if (chunk.IsLast)
            {
                using var sums = chunk.Evaluate(hidden, microBatch.Targets_N)
                    .view(microBatch.Sequences, chunk.SequenceLength).sum(1, type: torch.ScalarType.Float64);
                losses = TensorMemory.Span<double>(sums.cpu()).ToArray();
            }
            else if (stages == 1)
            {
                passedOn = hidden;
            }
            else
            {
                groups.Pipeline.Send(hidden, (Stage + 1) % stages);
            }
        }

        return losses;
    }

    private static bool NeedsTokens(ParallelStage chunk) => chunk.IsFirst || chunk.IsLast;

    private MicroBatch Load(Func<int, MicroBatch> load, int number)
    {
        using var span = _recorder.Begin(StepPart.Data, "load", number);
        return load(number);
    }

    private IReadOnlyList<PipelineStep> Program(int microBatches)
    {
        if (_program.MicroBatches != microBatches)
        {
            var shape = new PipelineShape(groups.Mesh.Pipeline, microBatches, chunks.Count);
            _program = (microBatches, PipelinePrograms.Build(schedule, shape, Stage, exchange));
        }

        return _program.Steps;
    }

    private void Send(PipelineTransfer transfer, PipelineStepState state)
    {
        var result = state.NextResult();
        if (transfer.Peer == Stage)
        {
            state.Arrive(transfer.Input, result);
            return;
        }

        using var span = _recorder.Begin(StepPart.Communication, "pass on", transfer.Input.MicroBatch);
        using (result)
            groups.Pipeline.Send(result, transfer.Peer);
    }

    private Tensor Receive(int peer, int sequences)
    {
        var received = chunks[0].EmptyHidden(sequences);
        groups.Pipeline.Receive(received, peer);
        return received;
    }

    /// <summary>Receives what the step receives, and computes if it computes.</summary>
    private double Compute(
        PipelineStep step, int sequences, MicroBatch? microBatch, double lossScale, PipelineStepState state, PostedReceives receives)
    {
        if (step.Action is not { } action)
        {
            ReceiveAll(step, state, receives);
            return 0;
        }

        using var span = _recorder.Begin(
            StepPart.Compute, action.Kind == PipelineActionKind.Forward ? "forward" : "backward", action.MicroBatch);
        ReceiveAll(step, state, receives);
        if (action.Kind == PipelineActionKind.Forward)
            return Forward(action, sequences, microBatch, lossScale, state);
        Backward(action, sequences, state);
        return 0;
    }

    private static void ReceiveAll(PipelineStep step, PipelineStepState state, PostedReceives receives)
    {
        foreach (var transfer in step.Receives)
            state.Arrive(transfer.Input, receives.Take(transfer.Peer));
        receives.Post();
    }

    private double Forward(PipelineAction action, int sequences, MicroBatch? microBatch, double lossScale, PipelineStepState state)
    {
        var chunk = chunks[action.Chunk];
        var tape = state.Begin(action);
        Tensor hidden;
        if (chunk.IsFirst)
        {
            hidden = chunk.ForwardTokens(Loaded().Tokens_N, sequences, tape);
        }
        else
        {
            using var input = state.Take(action);
            hidden = chunk.ForwardHidden(input, sequences, tape);
        }

        if (!chunk.IsLast)
        {
            state.Finish(hidden);
            return 0;
        }

        using var loss = chunk.Loss(hidden, Loaded().Targets_N, lossScale, tape);
        return loss.sum(torch.ScalarType.Float64).item<double>();

        MicroBatch Loaded() => microBatch ?? throw new InvalidOperationException("Loaded for the first and the last chunk.");
    }

    private void Backward(PipelineAction action, int sequences, PipelineStepState state)
    {
        var chunk = chunks[action.Chunk];
        using var tape = state.End(action);
        using var gradient = chunk.IsLast ? chunk.BackwardLoss(tape) : state.Take(action);
        var before = chunk.Backward(gradient, sequences, tape);
        if (!chunk.IsFirst)
            state.Finish(before);
    }
}
