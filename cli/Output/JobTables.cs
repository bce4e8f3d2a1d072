using System.Globalization;
using Platform.Cli.Reports;
using Platform.Cli.Server;
using Platform.V1;

namespace Platform.Cli.Output;

/// <summary>Jobs as tables.</summary>
internal static class JobTables
{
    /// <summary>One line per job.</summary>
    public static void WriteList(TextWriter output, IEnumerable<Job> jobs, DateTimeOffset now)
    {
        var table = new TextTable("JOB", "STATE", "STEP", "LOSS", "QUEUE", "RESTARTS", "RAN", "AGE");
        foreach (var job in jobs)
        {
            table.Add(
                ResourceNames.Short(job.Name), Show.State(job.State), Step(job.Progress),
                job.Progress is { HasLoss: true } progress ? Show.Loss(progress.Loss) : "-",
                job.Spec?.Queue is { Length: > 0 } queue ? queue : "default", Text(job.Restarts),
                Show.RunTime(job, now), Show.Age(job.CreateTime, now));
        }

        table.Write(output, "There are no jobs. Submit one with 'platform train JOB.yaml'.");
    }

    /// <summary>Everything about one job.</summary>
    public static void WriteOne(TextWriter output, Job job, DateTimeOffset now)
    {
        var table = new TextTable("FIELD", "VALUE");
        table.Add("name", job.Name);
        table.Add("state", job.StateReason.Length > 0 ? $"{Show.State(job.State)}: {job.StateReason}" : Show.State(job.State));
        table.Add("layout", Show.Layout(job.Layout ?? job.Spec?.Parallelism));
        table.Add("attempt", $"{job.Attempt} ({job.Restarts} restarts)");
        table.Add("created", $"{Show.Age(job.CreateTime, now)} ago");
        table.Add("ran", Show.RunTime(job, now));
        if (job.Progress is { } progress)
        {
            if (progress.Phase.Length > 0)
                table.Add("phase", progress.Phase);
            table.Add("step", Step(progress));
            table.Add("loss", progress.HasLoss ? $"{Show.Loss(progress.Loss)} (from {Show.Loss(progress.HasFirstLoss ? progress.FirstLoss : null)})" : "-");
            table.Add("tokens/s", progress.HasTokensPerSecond ? Show.Count(progress.TokensPerSecond) : "-");
        }

        table.Add("checkpoint", Checkpoint(job));
        if (job.Model.Length > 0)
            table.Add("model", job.Model);
        foreach (var group in job.Ranks.GroupBy(rank => rank.Node))
            table.Add($"ranks on {group.Key}", string.Join(", ", group.Select(rank => Text(rank.Rank))));
        foreach (var done in job.Events)
            table.Add($"{Show.Age(done.Time, now)} ago", $"{done.Message} [{done.Kind}]");
        foreach (var failure in job.PastFailures)
            table.Add($"attempt {failure.Attempt} failed", $"{failure.Message} [{failure.Reason}]");
        if (job.Failure is { } final)
            table.Add("failure", $"{final.Message} [{final.Reason}]");
        if (job.DeviceHours > 0)
            table.Add("device-hours", job.DeviceHours.ToString("0.####", CultureInfo.InvariantCulture) + (job.HasCost ? $", costing {Show.Cost(job.Cost)}" : ""));
        table.Write(output, "");
        WriteFigures(output, job);
    }

    /// <summary>Predicted beside measured.</summary>
    private static void WriteFigures(TextWriter output, Job job)
    {
        var rows = FigureRows.Of(job).ToList();
        if (rows.Count == 0)
            return;
        output.WriteLine();
        var table = new TextTable("FIGURE", "PREDICTED", "MEASURED", "RATIO");
        foreach (var (name, predicted, measured, show) in rows)
        {
            table.Add(
                name, predicted > 0 ? show(predicted) : "", measured > 0 ? show(measured) : "",
                predicted > 0 && measured > 0 ? (measured / predicted).ToString("0.00", CultureInfo.InvariantCulture) : "");
        }

        table.Write(output, "");
    }

    /// <summary>What of a job can be changed while it lives.</summary>
    public static string Settings(Job job)
    {
        var priority = string.Create(CultureInfo.InvariantCulture, $"priority {job.Spec.Priority}");
        return job.Spec.Training is not { HasSteps: true } training
            ? priority
            : string.Create(
                CultureInfo.InvariantCulture,
                $"{priority}, {training.Steps} steps, learning rate {job.Spec.Optimizer?.Lr}, data-parallel width {(job.Spec.Parallelism is { HasData: true } split ? split.Data : job.Layout?.Data)}");
    }

    /// <summary>One line per step.</summary>
    public static void WriteMetrics(TextWriter output, GetMetricsResponse metrics)
    {
        var table = new TextTable("STEP", "LOSS", "GRAD NORM", "LR", "TOKENS/S", "SECONDS", "EVAL LOSS", "PERPLEXITY", "MFU", "COMPUTE", "COMM", "BUBBLE", "DATA", "OPTIM", "CKPT");
        foreach (var point in metrics.Points)
        {
            table.Add(
                Text(point.Step), Show.Loss(point.Loss), Show.Number(point.GradNorm), Show.Number(point.LearningRate),
                Show.Count(point.TokensPerSecond), Show.Number(point.StepSeconds), point.HasEvalLoss ? Show.Loss(point.EvalLoss) : "-",
                point.HasEvalPerplexity ? Show.Number(point.EvalPerplexity) : "-",
                point.HasModelFlopsUtilization ? (point.ModelFlopsUtilization * 100).ToString("0.0", CultureInfo.InvariantCulture) + "%" : "-",
                Part(point.Parts?.Compute), Part(point.Parts?.Communication), Part(point.Parts?.Bubble), Part(point.Parts?.Data), Part(point.Parts?.Optimizer),
                Part(point.Parts?.Checkpoint));
        }

        table.Write(output, "There are no steps yet.");
    }

    private static string Part(double? seconds) => seconds is { } value ? value.ToString("0.000", CultureInfo.InvariantCulture) : "-";

    /// <summary>Reasons as a tree, then what would help.</summary>
    public static void WriteExplanation(TextWriter output, ExplainJobResponse explanation)
    {
        if (explanation.Reasons.Count == 0)
            output.WriteLine("Nothing holds it back.");
        foreach (var reason in explanation.Reasons)
            WriteReason(output, reason, "", "");
        if (explanation.Position > 0)
            output.WriteLine($"Position in its queue: {explanation.Position}");
        if (explanation.EstimatedStart is { } start)
        {
            var basis = explanation.EstimateBasis switch
            {
                "RESERVATION" => " (devices are reserved for it)",
                "RUNTIMES" => " (by what is known of how long others run)",
                _ => "",
            };
            output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"Estimated start: {start.ToDateTimeOffset().ToLocalTime():yyyy-MM-dd HH:mm:ss}{basis}"));
        }

        foreach (var change in explanation.Counterfactuals)
            output.WriteLine(change.StartsWith("would ", StringComparison.Ordinal) ? $"It {change}." : $"It would start if: {change}");
    }

    private static void WriteReason(TextWriter output, PendingReason reason, string first, string rest)
    {
        output.WriteLine($"{first}{reason.Message} [{reason.Reason}]");
        for (var n = 0; n < reason.Causes.Count; n++)
        {
            var isLast = n == reason.Causes.Count - 1;
            WriteReason(output, reason.Causes[n], rest + (isLast ? "└─ " : "├─ "), rest + (isLast ? "   " : "│  "));
        }
    }

    private static string Step(TrainingProgress? progress) =>
        progress is { TotalSteps: > 0 } ? $"{progress.Step}/{progress.TotalSteps}" : "-";

    private static string Checkpoint(Job job)
    {
        if (job.CheckpointStep == 0)
            return "-";
        var step = $"step {job.CheckpointStep}";
        return job.Checkpoint is { WriteSeconds: > 0 } cost
            ? string.Create(
                CultureInfo.InvariantCulture,
                $"{step} ({Show.Bytes(cost.SizeBytes)} in {cost.WriteSeconds:0.##} s, training stood still for {cost.PauseSeconds * 1000:0.#} ms)")
            : step;
    }

    private static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);
}
