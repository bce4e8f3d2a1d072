using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Platform.Cli.Output;
using Platform.Cli.Server;
using Platform.V1;

namespace Platform.Cli.Reports;

/// <summary>What is known of a job as one HTML file that needs nothing else: no scripts, no fonts, no network.</summary>
/// <param name="job">The job.</param>
/// <param name="points">Its steps.</param>
/// <param name="events">Its timeline; empty when there is none.</param>
/// <param name="now">Time of the report.</param>
internal sealed class JobReport(Job job, IReadOnlyList<MetricPoint> points, IReadOnlyList<TraceEvent> events, DateTimeOffset now)
{
    private static readonly JsonFormatter SpecJson = new(JsonFormatter.Settings.Default.WithPreserveProtoFieldNames(true));

    /// <summary>The page.</summary>
    public string Html()
    {
        var id = Svg.Text(ResourceNames.Short(job.Name));
        var page = new StringBuilder();
        page.Append(CultureInfo.InvariantCulture, $"<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{id}</title>\n<style>\n{ReportStyle.Css}\n</style></head>\n<body><main>\n");
        page.Append(CultureInfo.InvariantCulture, $"<h1>{id} <span class=\"badge {Show.State(job.State)}\">{Show.State(job.State)}</span></h1>\n<p class=\"sub\">{Svg.Text(Summary())}</p>\n");
        Tiles(page);
        page.Append("<div class=\"two\">");
        Section(page, "Loss" + Key("training", points.Any(point => point.HasEvalLoss) ? "held out" : null), LineChart.Draw(
            "Loss over steps", false, Line("loss", "l1", point => point.Loss), new ChartLine("held-out loss", "l2", [.. points.Where(point => point.HasEvalLoss).Select(point => ((double)point.Step, point.EvalLoss))])));
        Section(page, "Tokens per second", LineChart.Draw("Tokens per second over steps", true, Line("tokens/s", "l1", point => point.TokensPerSecond)));
        page.Append("</div><div class=\"two\">");
        Section(page, "Where the time went", (job.Measured?.Parts is { } parts ? PartsChart.Bar(parts) : "") + PartsChart.Columns(points) + Svg.Legend(Svg.Parts));
        Section(page, "Predicted and measured", Comparison());
        page.Append("</div>");
        Section(page, "Timeline", TimelineChart.Draw(events));
        page.Append("<div class=\"two\">");
        Section(page, "Gradient norm and learning rate" + Key("norm", null), LineChart.Draw("Gradient norm over steps", true, Line("norm", "l1", point => point.GradNorm))
            + LineChart.Draw("Learning rate over steps", true, Line("learning rate", "l2", point => point.LearningRate)));
        Section(page, "Memory per rank", Memory());
        page.Append("</div>");
        Section(page, "Events", Events());
        Section(page, "Configuration", $"<pre>{Svg.Text(YamlText.Of(JsonNode.Parse(SpecJson.Format(job.Spec ?? new JobSpec()))))}</pre>");
        page.Append(CultureInfo.InvariantCulture, $"<footer>{Svg.Text(job.Name)}, as of {now.UtcDateTime:yyyy-MM-dd HH:mm:ss} UTC. MFU counts 6 operations per weight and token and 6·layers·width·sequence of causal attention, not recomputation, against the devices' rate of matrix products.</footer>\n</main></body></html>\n");
        return page.ToString();
    }

    private static string Key(string first, string? second) =>
        second is null ? "" : $"<span class=\"key1\">{first}</span><span class=\"key2\">{second}</span>";

    private static void Section(StringBuilder page, string title, string content) =>
        page.Append(CultureInfo.InvariantCulture, $"<section><h2>{title}</h2>{content}</section>\n");

    private ChartLine Line(string name, string style, Func<MetricPoint, double> value) => new(name, style, [.. points.Select(point => ((double)point.Step, value(point)))]);

    private string Summary()
    {
        var layout = job.Layout ?? job.Spec?.Parallelism;
        var said = new List<string> { $"tensor × pipeline × data {Show.Layout(layout)}" };
        if (job.Ranks.Count > 0)
            said.Add($"{job.Ranks.Count} ranks on {job.Ranks.Select(rank => rank.Node).Distinct().Count()} nodes");
        said.Add($"ran {Show.RunTime(job, now)}");
        if (job.Restarts > 0)
            said.Add($"{job.Restarts} restarts");
        return string.Join(" · ", said) + (job.StateReason.Length > 0 ? $" · {job.StateReason}" : "");
    }

    private void Tiles(StringBuilder page)
    {
        page.Append("<div class=\"tiles\">");
        var progress = job.Progress;
        Tile("step", progress is null ? "-" : string.Create(CultureInfo.InvariantCulture, $"{progress.Step} / {progress.TotalSteps}"));
        Tile(progress is { HasFirstLoss: true } ? $"loss, from {Show.Loss(progress.FirstLoss)}" : "loss", progress is { HasLoss: true } ? Show.Loss(progress.Loss) : "-");
        var measured = job.Measured;
        Tile("tokens per second", measured is { TokensPerSecond: > 0 } ? Show.Count(measured.TokensPerSecond) : progress is { HasTokensPerSecond: true } ? Show.Count(progress.TokensPerSecond) : "-");
        Tile("MFU", measured is { ModelFlopsUtilization: > 0 } ? Percent(measured.ModelFlopsUtilization) : "-");
        Tile("time per step", measured is { StepSeconds: > 0 } ? Svg.Seconds(measured.StepSeconds) : "-");
        Tile("memory of the fullest rank", measured is { BytesPerRank: > 0 } ? Show.Bytes(measured.BytesPerRank) : "-");
        Tile("device-hours", job.DeviceHours.ToString("0.###", CultureInfo.InvariantCulture));
        if (job.HasCost)
            Tile("cost", Show.Cost(job.Cost));
        page.Append("</div>\n");

        void Tile(string label, string value) => page.Append(CultureInfo.InvariantCulture, $"<div class=\"tile\"><b>{Svg.Text(value)}</b><span>{Svg.Text(label)}</span></div>");
    }

    private string Comparison()
    {
        if (job.Predicted is null && job.Measured is null)
            return "<p class=\"none\">Nothing was predicted or measured.</p>";
        var html = new StringBuilder("<table><tr><th></th><th class=\"n\">predicted</th><th class=\"n\">measured</th><th class=\"n\">ratio</th></tr>");
        foreach (var (name, predicted, measured, show) in FigureRows.Of(job))
        {
            var ratio = predicted > 0 && measured > 0 ? (measured / predicted).ToString("0.00", CultureInfo.InvariantCulture) : "";
            html.Append(CultureInfo.InvariantCulture, $"<tr><td>{Svg.Text(name)}</td><td class=\"n\">{(predicted > 0 ? Svg.Text(show(predicted)) : "–")}</td><td class=\"n\">{(measured > 0 ? Svg.Text(show(measured)) : "–")}</td><td class=\"n\">{ratio}</td></tr>");
        }

        return html.Append("</table>").ToString();
    }

    private string Memory()
    {
        var html = new StringBuilder();
        if (job.Predicted?.Memory is { } memory)
            html.Append(CultureInfo.InvariantCulture, $"<p class=\"hint\">Predicted for the fullest rank: {Show.Bytes(memory.States)} of weights, gradients and optimizer state, {Show.Bytes(memory.Activations)} of activations, {Show.Bytes(memory.Logits)} of logits, {Show.Bytes(memory.Buffers)} of buffers.</p>");
        if (job.Measured is not { RankBytes.Count: > 0 } measured || measured.RankBytes.All(bytes => bytes == 0))
            return html.Append("<p class=\"none\">The ranks have not measured their memory.</p>").ToString();
        var most = Math.Max(measured.RankBytes.Max(), job.Predicted?.BytesPerRank ?? 0);
        html.Append("<table><tr><th>rank</th><th>live tensors at their highest</th><th class=\"n\"></th><th class=\"n\">resident</th></tr>");
        for (var rank = 0; rank < measured.RankBytes.Count; rank++)
        {
            var resident = rank < measured.ResidentBytes.Count ? Show.Bytes(measured.ResidentBytes[rank]) : "";
            html.Append(CultureInfo.InvariantCulture, $"<tr><td>{rank}</td><td style=\"width:55%\"><div class=\"b-compute\" style=\"height:12px;margin-top:6px;border-radius:3px;width:{100.0 * measured.RankBytes[rank] / most:0.#}%\"></div></td><td class=\"n\">{Show.Bytes(measured.RankBytes[rank])}</td><td class=\"n\">{resident}</td></tr>");
        }

        return html.Append("</table>").ToString();
    }

    private string Events()
    {
        var happened = new List<(DateTime? Time, string Text, bool Bad)> { (Time(job.CreateTime), "submitted", false), (Time(job.StartTime), "first ran", false) };
        happened.AddRange(job.PastFailures.Select(failure => (Time(failure.Time), $"attempt {failure.Attempt} failed: {failure.Message} [{failure.Reason}]", true)));
        if (job.Failure is { } final)
            happened.Add((Time(final.Time), $"failed: {final.Message} [{final.Reason}]", true));
        happened.Add((Time(job.EndTime), $"{Show.State(job.State)}: {job.StateReason}", job.State == JobState.Failed));
        var html = new StringBuilder("<table>");
        foreach (var (time, text, bad) in happened.Where(each => each.Time is not null).OrderBy(each => each.Time))
            html.Append(CultureInfo.InvariantCulture, $"<tr><td style=\"width:190px\">{time:yyyy-MM-dd HH:mm:ss}</td><td{(bad ? " class=\"bad\"" : "")}>{Svg.Text(text)}</td></tr>");
        if (job.CheckpointStep > 0)
            html.Append(CultureInfo.InvariantCulture, $"<tr><td></td><td>last checkpoint: step {job.CheckpointStep}</td></tr>");
        if (job.Model.Length > 0)
            html.Append(CultureInfo.InvariantCulture, $"<tr><td></td><td>registered {Svg.Text(job.Model)}</td></tr>");
        return html.Append("</table>").ToString();
    }

    private static DateTime? Time(Timestamp? time) => time?.ToDateTime();

    private static string Percent(double share) => (share * 100).ToString("0.0", CultureInfo.InvariantCulture) + " %";
}
