using System.Collections.Immutable;
using Platform.Core.Jobs;

namespace Platform.Core.Parallelism;

/// <summary>How the stages' messages travel.</summary>
public enum PipelineExchange
{
    /// <summary>A send waits for nobody while at least one message per direction of a pair is on its way.</summary>
    Buffered,

    /// <summary>A send ends only when the peer receives; sends and receives of a step are posted together.</summary>
    Paired,
}

/// <summary>One step of a stage: messages first, all of them together, then a computation.</summary>
/// <param name="Sends">Results of earlier steps, in order.</param>
/// <param name="Receives">Inputs of this computation or of later ones, in the order in which each peer sends them.</param>
/// <param name="Action">The computation, or null when there are messages only.</param>
public sealed record PipelineStep(ImmutableArray<PipelineTransfer> Sends, ImmutableArray<PipelineTransfer> Receives, PipelineAction? Action);

/// <summary>
/// What a stage does in one training step, messages included, as data: for every shape no circle of stages waits for one
/// another. Messages between two stages keep their order and need no labels.
/// </summary>
public static class PipelinePrograms
{
    /// <summary>The steps of one stage. What it passes to itself is among the sends, not among the receives.</summary>
    /// <param name="schedule">Which schedule.</param>
    /// <param name="shape">Size of the pipeline.</param>
    /// <param name="stage">Stage, from 0.</param>
    /// <param name="exchange">How messages travel.</param>
    /// <exception cref="ArgumentException">The schedule cannot have this shape.</exception>
    public static IReadOnlyList<PipelineStep> Build(PipelineSchedule schedule, PipelineShape shape, int stage, PipelineExchange exchange)
    {
        ArgumentNullException.ThrowIfNull(shape);

        // Two stages that go around have activations and gradients on the same way: only an agreed order keeps them from
        // waiting for a message behind one that is not needed yet.
        return exchange == PipelineExchange.Paired || (shape.Stages == 2 && shape.VirtualStages > 1)
            ? InLockStep(PipelineTimeline.Play(schedule, shape, 1, 1), shape, stage)
            : AsNeeded(PipelineSchedules.Build(schedule, shape, stage), shape, stage);
    }

    /// <summary>Each input is received just before it is needed, and each result sent at once.</summary>
    private static List<PipelineStep> AsNeeded(IReadOnlyList<PipelineAction> actions, PipelineShape shape, int stage)
    {
        var steps = new List<PipelineStep>(actions.Count + 1);
        PipelineTransfer? result = null;
        foreach (var action in actions)
        {
            var source = shape.SourceOf(stage, action);
            steps.Add(new PipelineStep(
                result is { } sent ? [sent] : [],
                source is { } peer && peer != stage ? [new PipelineTransfer(peer, action)] : [],
                action));
            result = shape.ResultOf(stage, action);
        }

        if (result is { } last)
            steps.Add(new PipelineStep([last], [], null));
        return steps;
    }

    /// <summary>
    /// Messages change hands at the moment when they are ready in unit time, which both ends know: the exchanges of one
    /// moment are whole by themselves, so moment after moment goes by. Idle moments without messages are left out.
    /// </summary>
    private static List<PipelineStep> InLockStep(PipelineTimeline timeline, PipelineShape shape, int stage)
    {
        var own = timeline.Stages[stage].ToDictionary(timed => timed.Start, timed => timed.Action);
        var sends = timeline.Stages[stage]
            .Where(timed => shape.ResultOf(stage, timed.Action) is not null)
            .ToDictionary(timed => timed.End, timed => ResultOf(stage, timed.Action));
        var receives = (
            from peer in new[] { (stage + shape.Stages - 1) % shape.Stages, (stage + 1) % shape.Stages }.Distinct()
            where peer != stage
            from timed in timeline.Stages[peer]
            where shape.ResultOf(peer, timed.Action) is { } result && result.Peer == stage
            select (timed.End, Transfer: new PipelineTransfer(peer, ResultOf(peer, timed.Action).Input)))
            .ToLookup(message => message.End, message => message.Transfer);

        var steps = new List<PipelineStep>();
        for (long moment = 0; moment <= timeline.Length; moment++)
        {
            ImmutableArray<PipelineTransfer> sent = sends.TryGetValue(moment, out var transfer) ? [transfer] : [];
            ImmutableArray<PipelineTransfer> received = [.. receives[moment]];
            PipelineAction? action = own.TryGetValue(moment, out var computed) ? computed : null;
            if (action is not null || sent.Length + received.Length > 0)
                steps.Add(new PipelineStep(sent, received, action));
        }

        return steps;

        PipelineTransfer ResultOf(int at, PipelineAction action) =>
            shape.ResultOf(at, action) ?? throw new InvalidOperationException("Filtered to actions with a result.");
    }
}
