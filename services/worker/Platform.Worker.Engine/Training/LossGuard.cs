using System.Collections.Immutable;
using System.Globalization;
using System.Text.Json.Nodes;
using Platform.Core.Jobs;

namespace Platform.Worker.Engine.Training;

/// <summary>What becomes of a step.</summary>
public abstract record StepVerdict
{
    private StepVerdict()
    {
    }

    /// <summary>Weights are updated.</summary>
    public sealed record Accepted : StepVerdict;

    /// <summary>Weights and moments stay as they are, and the run goes on with the next samples.</summary>
    /// <param name="Reason">What was found.</param>
    public sealed record Skipped(string Reason) : StepVerdict;

    /// <summary>Too many steps were skipped.</summary>
    /// <param name="Reason">What was found, and the limit.</param>
    public sealed record Stopped(string Reason) : StepVerdict;
}

/// <summary>What the guard remembers; part of a checkpoint, since decisions follow from it.</summary>
/// <param name="SkippedSteps">Steps skipped so far.</param>
/// <param name="SkippedInARow">Of them, those since the last update.</param>
/// <param name="Losses">Losses of the last accepted steps, oldest first.</param>
/// <param name="GradientNorms">Their gradient norms.</param>
public sealed record LossGuardState(
    int SkippedSteps, int SkippedInARow, ImmutableArray<double> Losses, ImmutableArray<double> GradientNorms)
{
    /// <summary>Before the first step.</summary>
    public static LossGuardState Start { get; } = new(0, 0, [], []);

    /// <summary>Reads what <see cref="ToJson"/> wrote; a checkpoint without it is one from before anything was skipped.</summary>
    public static LossGuardState Of(JsonNode? json) => json is not JsonObject state
        ? Start
        : new(
            state["skipped"]?.GetValue<int>() ?? 0, state["skipped_in_a_row"]?.GetValue<int>() ?? 0,
            Numbers(state["losses"]), Numbers(state["grad_norms"]));

    /// <summary>The state as a checkpoint's manifest has it.</summary>
    public JsonObject ToJson() => new()
    {
        ["skipped"] = SkippedSteps,
        ["skipped_in_a_row"] = SkippedInARow,
        ["losses"] = new JsonArray([.. Losses.Select(value => JsonValue.Create(value))]),
        ["grad_norms"] = new JsonArray([.. GradientNorms.Select(value => JsonValue.Create(value))]),
    };

    private static ImmutableArray<double> Numbers(JsonNode? list) =>
        list is JsonArray numbers ? [.. numbers.OfType<JsonNode>().Select(number => number.GetValue<double>())] : [];
}

/// <summary>
/// Decides from the loss and the gradient norm that all ranks agree on, so that all decide alike. A spike is told by its
/// z-score over the last accepted steps, as llm.c's outlier detector does; only what lies above the mean is one.
/// </summary>
public static class LossGuard
{
    /// <summary>Judges a step.</summary>
    /// <param name="spec">Limits.</param>
    /// <param name="state">What happened before.</param>
    /// <param name="step">The step, for the reason.</param>
    /// <param name="loss">Its loss.</param>
    /// <param name="gradientNorm">Norm of its gradient before clipping.</param>
    /// <returns>What becomes of it, and what to remember.</returns>
    public static (StepVerdict Verdict, LossGuardState State) Judge(
        LossGuardSpec spec, LossGuardState state, int step, double loss, double gradientNorm)
    {
        ArgumentNullException.ThrowIfNull(spec);
        ArgumentNullException.ThrowIfNull(state);
        if (ReasonToSkip(spec, state, step, loss, gradientNorm) is not { } reason)
            return (new StepVerdict.Accepted(), Remember(spec, state, loss, gradientNorm));

        var next = state with { SkippedSteps = state.SkippedSteps + 1, SkippedInARow = state.SkippedInARow + 1 };
        const string advice = "A lower learning rate, a longer warm-up or clipping may help.";
        if (next.SkippedInARow >= spec.MaxConsecutiveSkips)
            return (new StepVerdict.Stopped($"{reason} {next.SkippedInARow} steps in a row were skipped, the most that training.loss_guard.max_consecutive_skips allows. {advice}"), next);
        if (next.SkippedSteps >= spec.MaxSkips)
            return (new StepVerdict.Stopped($"{reason} {next.SkippedSteps} steps were skipped, the most that training.loss_guard.max_skips allows. {advice}"), next);
        return (new StepVerdict.Skipped(reason), next);
    }

    private static string? ReasonToSkip(LossGuardSpec spec, LossGuardState state, int step, double loss, double gradientNorm)
    {
        if (!double.IsFinite(loss) || !double.IsFinite(gradientNorm))
            return $"Step {step} diverged: its loss is {Show(loss)} and the norm of its gradient {Show(gradientNorm)}.";
        if (spec.SpikeZScore <= 0 || state.Losses.Length < spec.Window)
            return null;
        var (ofLoss, ofNorm) = (ZScore(state.Losses, loss), ZScore(state.GradientNorms, gradientNorm));
        if (ofLoss > spec.SpikeZScore)
            return $"Step {step} is a spike: its loss {Show(loss)} lies {ofLoss:F1} standard deviations above the last {spec.Window}.";
        return ofNorm > spec.SpikeZScore
            ? $"Step {step} is a spike: the norm of its gradient {Show(gradientNorm)} lies {ofNorm:F1} standard deviations above the last {spec.Window}."
            : null;
    }

    private static LossGuardState Remember(LossGuardSpec spec, LossGuardState state, double loss, double gradientNorm) => state with
    {
        SkippedInARow = 0,
        Losses = spec.SpikeZScore > 0 ? [.. state.Losses.TakeLast(spec.Window - 1), loss] : [],
        GradientNorms = spec.SpikeZScore > 0 ? [.. state.GradientNorms.TakeLast(spec.Window - 1), gradientNorm] : [],
    };

    /// <summary>Standard deviations above the mean; 0 where all values are the same.</summary>
    private static double ZScore(ImmutableArray<double> window, double value)
    {
        var mean = window.Average();
        var deviation = Math.Sqrt(window.Average(past => (past - mean) * (past - mean)));
        return deviation > 0 ? (value - mean) / deviation : 0;
    }

    private static string Show(double value) => value.ToString("G5", CultureInfo.InvariantCulture);
}
