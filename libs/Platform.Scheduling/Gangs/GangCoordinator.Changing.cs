namespace Platform.Scheduling.Gangs;

/// <summary>Changes to a gang that lives: other widths, and other work.</summary>
public static partial class GangCoordinator
{
    private const int KeptNotes = 20;

    /// <summary>
    /// The gang saves, stops and is queued again, with places kept for it. Ranks agree on the step they stop after, so the next
    /// attempt goes on at the following one with the same samples.
    /// </summary>
    private static (GangState, IReadOnlyList<GangEffect>) Resize(GangState state, GangEvent.ResizeRequested resize, DateTimeOffset now)
    {
        if (state.Stage != GangStage.Running)
        {
            return (state, Nothing);
        }

        var (_, placement, from, to) = resize.Resize;
        string what = $"goes from a data-parallel width of {from} to {to}: {resize.Reason}";
        var kept = Noted(state with { Nomination = new Nomination(placement, resize.Until) }, to < from ? GangNoteKind.Narrowed : GangNoteKind.Widened, $"It {what}.", now);
        return Stop(kept, StopOutcome.Yield, what, now);
    }

    /// <summary>
    /// What the owner changed holds from the next attempt on. Ranks that run save after the step they are at, the same for all
    /// of them, so every rank takes the next step in the new form.
    /// </summary>
    private static (GangState, IReadOnlyList<GangEffect>) Revise(GangState state, GangEvent.Revised revised, DateTimeOffset now)
    {
        if (state.IsTerminal || state is { Stage: GangStage.Stopping, Attempt.Outcome: StopOutcome.Succeed or StopOutcome.Cancel or StopOutcome.Fail })
        {
            return (state, [new GangEffect.Refused($"{state.Gang} is {Word(state.Stage)} for good.")]);
        }

        state = Noted(state, GangNoteKind.Updated, $"Its owner changed {revised.What}.", now) with { Nomination = null };
        return state.Stage switch
        {
            GangStage.Preparing or GangStage.Starting or GangStage.Running =>
                Stop(state with { Revision = revised.Revision }, StopOutcome.Yield, $"its owner changed {revised.What}", now),
            GangStage.Stopping => (state with { Revision = revised.Revision }, Nothing),
            _ => (AsRevised(state with { Revision = revised.Revision }), Nothing),
        };
    }

    /// <summary>The gang in the form that its owner gave it last.</summary>
    private static GangState AsRevised(GangState state) =>
        state.Revision is { } revision ? state with { Workload = revision.Workload, Shape = revision.Shape, Revision = null } : state;

    private static GangState Noted(GangState state, GangNoteKind kind, string message, DateTimeOffset now) =>
        state with { Notes = [.. state.Notes.TakeLast(KeptNotes - 1), new GangNote(now, kind, message)] };

    private static string Sentence(string reason) => $"{char.ToUpperInvariant(reason[0])}{reason[1..].TrimEnd('.')}.";
}
