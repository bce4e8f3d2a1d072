using System.Globalization;
using System.Text;

namespace Platform.Cli.Reports;

/// <summary>What every rank did in the last step that is known, one row per rank.</summary>
internal static class TimelineChart
{
    private const double Width = 1260, Left = 64, Right = 12, Row = 22, Gap = 6, Bottom = 26;
    private const int MostRanks = 64;
    private const int MostEvents = 6000;

    /// <summary>Draws a step.</summary>
    public static string Draw(IReadOnlyList<TraceEvent> events)
    {
        // A step that evaluates or saves does more than train; the last one that does not is shown, if there is one.
        var more = events.Where(each => each.Name is "evaluate" or "checkpoint").Select(each => each.Step).ToHashSet();
        var steps = events.Select(each => each.Step).Where(step => step > 0).Distinct().Order().ToList();
        if (steps.Count == 0)
            return "<p class=\"none\">The ranks have left no timeline.</p>";
        var step = steps.LastOrDefault(each => !more.Contains(each), steps[^1]);
        var shown = events.Where(each => each.Step == step && each.Lane == 0 && each.Name != "evaluate" && each.Name != "checkpoint").ToList();
        if (shown.Count == 0)
            return "<p class=\"none\">The ranks have left no timeline.</p>";
        var ranks = shown.Select(each => each.Rank).Distinct().Order().Take(MostRanks).ToList();
        var (start, end) = (shown.Min(each => each.Start), shown.Max(each => each.Start + each.Duration));
        var scale = (Width - Left - Right) / Math.Max(1, end - start);
        var height = (ranks.Count * (Row + Gap)) + Bottom;

        // Spans that would be thinner than a hair are left out; of the rest the longest stay, drawn in the order of their begin.
        var drawn = shown.Where(each => each.Duration * scale >= 0.15).OrderByDescending(each => each.Duration).Take(MostEvents)
            .OrderBy(each => each.Start).ThenByDescending(each => each.Duration).ToList();
        var svg = new StringBuilder();
        svg.Append(CultureInfo.InvariantCulture, $"<p class=\"hint\">Step {step}, {Svg.Seconds((end - start) / 1e6)}; point at a span for what it is.</p><div class=\"wide\"><svg viewBox=\"0 0 {Width} {Svg.Number(height)}\" role=\"img\" aria-label=\"Timeline of step {step}\">");
        for (var i = 0; i < ranks.Count; i++)
        {
            var y = i * (Row + Gap);
            svg.Append(CultureInfo.InvariantCulture, $"<rect class=\"lane\" x=\"{Left}\" y=\"{Svg.Number(y)}\" width=\"{Width - Left - Right}\" height=\"{Row}\"/><text class=\"tick\" x=\"{Left - 8}\" y=\"{Svg.Number(y + 15)}\" text-anchor=\"end\">rank {ranks[i]}</text>");
            foreach (var each in drawn.Where(each => each.Rank == ranks[i]))
            {
                var backward = each.Name == "backward" ? " backward" : "";
                var micro = each.MicroBatch is { } number ? string.Create(CultureInfo.InvariantCulture, $", micro-batch {number}") : "";
                svg.Append(CultureInfo.InvariantCulture, $"<rect class=\"f-{Svg.Text(each.Part)}{backward}\" x=\"{Svg.Number(Left + ((each.Start - start) * scale))}\" y=\"{Svg.Number(y)}\" width=\"{Svg.Number(Math.Max(0.3, each.Duration * scale))}\" height=\"{Row}\"><title>{Svg.Text(each.Name)}{micro}: {Svg.Seconds(each.Duration / 1e6)}</title></rect>");
            }
        }

        foreach (var tick in Svg.Ticks(0, (end - start) / 1e6, 8))
            svg.Append(CultureInfo.InvariantCulture, $"<text class=\"tick\" x=\"{Svg.Number(Left + (tick * 1e6 * scale))}\" y=\"{Svg.Number(height - 8)}\" text-anchor=\"middle\">{Svg.Seconds(tick)}</text>");
        svg.Append("</svg></div>");
        return svg.Append(Svg.Legend(Svg.Parts.Where(part => drawn.Any(each => each.Part == part)))).ToString();
    }
}
