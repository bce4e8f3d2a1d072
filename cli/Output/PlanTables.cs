using System.Globalization;
using Platform.V1;

namespace Platform.Cli.Output;

/// <summary>Plans as tables.</summary>
internal static class PlanTables
{
    /// <summary>The plan, what else would fit, and what would not.</summary>
    public static void Write(TextWriter output, PlanJobResponse plan)
    {
        var table = new TextTable("FIGURE", "PREDICTED");
        table.Add("layout (tensor×pipeline×data)", Show.Layout(plan.Layout));
        if (plan.Layout is { HasMicroBatchSize: true } layout)
        {
            table.Add("micro-batch", Text(layout.MicroBatchSize));
            if (layout.Pipeline > 1)
                table.Add("schedule", layout.VirtualStages > 1 ? $"{layout.Schedule}, {layout.VirtualStages} virtual stages" : layout.Schedule);
            table.Add("ZeRO stage", Text(layout.ZeroStage));
            table.Add("sequence parallel", layout.SequenceParallel ? "yes" : "no");
        }

        if (plan.ActivationCheckpointing.Length > 0)
            table.Add("recomputation", plan.ActivationCheckpointing);
        if (plan.Devices > 0)
            table.Add("devices", $"{plan.Devices} × {plan.DeviceKind}");
        table.Add("parameters", Show.Count(plan.Parameters));
        table.Add("memory per rank", plan.UsableBytesPerDevice > 0
            ? $"{Show.Bytes(plan.BytesPerRank)} of {Show.Bytes(plan.UsableBytesPerDevice)} usable"
            : Show.Bytes(plan.BytesPerRank));
        if (plan.Memory is { } memory)
        {
            table.Add("  weights, gradients, optimizer", Show.Bytes(memory.States));
            table.Add("  activations", Show.Bytes(memory.Activations));
            table.Add("  logits", Show.Bytes(memory.Logits));
            table.Add("  buffers", Show.Bytes(memory.Buffers));
        }

        table.Add("pipeline bubble", Percent(plan.BubbleFraction));
        table.Add("communication per step", Show.Bytes(plan.CommunicationBytesPerStep));
        if (plan.StepSeconds > 0)
        {
            table.Add("step time", Seconds(plan.StepSeconds));
            if (plan.Parts is { } parts)
                table.Add("  of which", $"compute {Seconds(parts.Compute)}, communication {Seconds(parts.Communication)}, bubble {Seconds(parts.Bubble)}, optimizer {Seconds(parts.Optimizer)}");
            table.Add("tokens/s", Show.Count(plan.TokensPerSecond));
            table.Add("all steps", Show.Span(TimeSpan.FromSeconds(Math.Min(plan.TotalSeconds, 1e9))));
        }

        if (plan.ModelFlopsUtilization > 0)
            table.Add("MFU (6N + 6LHS, causal)", Percent(plan.ModelFlopsUtilization));
        table.Add("total FLOPs", plan.TotalFlops.ToString("0.00E+0", CultureInfo.InvariantCulture));
        if (plan.HasCost)
            table.Add("cost", Show.Cost(plan.Cost));
        table.Write(output, "");
        if (plan.Infeasible.Length > 0)
            output.WriteLine($"Infeasible: {plan.Infeasible}");
        if (plan.Reason.Length > 0)
            output.WriteLine($"Why: {plan.Reason}");
        foreach (var note in plan.Notes)
            output.WriteLine($"Note: {note}");
        WriteOthers(output, "Other layouts that fit, fastest first:", plan.Alternatives);
        WriteOthers(output, "Layouts that do not:", plan.Rejected);
    }

    private static void WriteOthers(TextWriter output, string title, IReadOnlyCollection<PlannedLayout> others)
    {
        if (others.Count == 0)
            return;
        output.WriteLine();
        output.WriteLine(title);
        var table = new TextTable("LAYOUT", "ZERO", "MICRO", "RECOMPUTE", "PER RANK", "BUBBLE", "STEP", "MFU", "WHY NOT");
        foreach (var other in others)
        {
            var known = other.BytesPerRank > 0;
            table.Add(
                known ? Show.Layout(other.Layout) : $"tensor {other.Layout.Tensor}", known ? Text(other.Layout.ZeroStage) : "", known ? Text(other.Layout.MicroBatchSize) : "",
                other.ActivationCheckpointing, known ? Show.Bytes(other.BytesPerRank) : "", known ? Percent(other.BubbleFraction) : "",
                known ? Seconds(other.StepSeconds) : "", known ? Percent(other.ModelFlopsUtilization) : "", other.Reason);
        }

        table.Write(output, "");
    }

    private static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);

    private static string Seconds(double seconds) => seconds switch
    {
        >= 100 => Show.Span(TimeSpan.FromSeconds(seconds)),
        >= 1 => string.Create(CultureInfo.InvariantCulture, $"{seconds:0.00} s"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{seconds * 1000:0.0} ms"),
    };

    private static string Percent(double share) => string.Create(CultureInfo.InvariantCulture, $"{share * 100:0.0}%");
}
