using System.CommandLine;
using System.Globalization;
using Platform.Cli.Output;
using Platform.V1;

namespace Platform.Cli.Commands;

/// <summary><c>platform plan</c>: what a job would need and how long it would take.</summary>
internal static class PlanCommand
{
    public static Command Create(CommandRunner runner)
    {
        var input = new JobFileInput();
        var command = new ExampledCommand(
            "plan",
            "Predict layout, memory and time of a job without submitting it.",
            "platform plan job.yaml",
            "platform plan job.yaml --set parallelism.pipeline=4 -o json")
        {
            input.File, input.Changes,
        };
        runner.Handle(command, async call =>
        {
            var plan = await input.SendAsync(call, spec => call.Session.Jobs.PlanJobAsync(
                new PlanJobRequest { Parent = call.Session.Names.Parent, Spec = spec }, call.Session.Call(call.Cancellation)));
            call.Print(plan, () => Write(call.Output, plan));
        });
        return command;
    }

    private static void Write(TextWriter output, PlanJobResponse plan)
    {
        var table = new TextTable("FIGURE", "PREDICTED");
        table.Add("layout (tensor×pipeline×data)", Show.Layout(plan.Layout));
        if (plan.Layout is { HasMicroBatchSize: true } layout)
            table.Add("micro-batch", layout.MicroBatchSize.ToString(CultureInfo.InvariantCulture));
        table.Add("parameters", Show.Count(plan.Parameters));
        table.Add("memory per rank", Show.Bytes(plan.BytesPerRank));
        table.Add("pipeline bubble", Percent(plan.BubbleFraction));
        table.Add("communication per step", Show.Bytes(plan.CommunicationBytesPerStep));
        if (plan.StepSeconds > 0)
            table.Add("step time", Show.Span(TimeSpan.FromSeconds(plan.StepSeconds)));
        if (plan.ModelFlopsUtilization > 0)
            table.Add("model FLOPs utilization", Percent(plan.ModelFlopsUtilization));
        table.Add("total FLOPs", plan.TotalFlops.ToString("0.00E+0", CultureInfo.InvariantCulture));
        table.Write(output, "");
        foreach (var note in plan.Notes)
            output.WriteLine($"Note: {note}");
    }

    private static string Percent(double share) => string.Create(CultureInfo.InvariantCulture, $"{share * 100:0.0}%");
}
