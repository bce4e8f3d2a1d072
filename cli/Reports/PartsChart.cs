using System.Globalization;
using System.Text;
using Platform.V1;

namespace Platform.Cli.Reports;

/// <summary>Where the time of steps went: one bar for the mean, and columns over the steps.</summary>
internal static class PartsChart
{
    private const double Width = 620, Height = 200, Left = 72, Right = 12, Top = 10, Bottom = 28;
    private const int MostColumns = 120;

    /// <summary>Seconds of each part in the order of <see cref="Svg.Parts"/>.</summary>
    public static double[] Values(StepParts parts) =>
        [parts.Compute, parts.Communication, parts.Bubble, parts.Data, parts.Optimizer, parts.Checkpoint, parts.Other];

    /// <summary>One bar, with its shares.</summary>
    public static string Bar(StepParts parts)
    {
        var (values, total) = (Values(parts), Values(parts).Sum());
        if (!(total > 0))
            return "";
        var html = new StringBuilder("<div class=\"bar\">");
        for (var i = 0; i < values.Length; i++)
        {
            var share = values[i] / total;
            if (share > 0.001)
                html.Append(CultureInfo.InvariantCulture, $"<div class=\"b-{Svg.Parts[i]}\" style=\"flex-grow:{share:0.####}\" title=\"{Svg.Parts[i]}: {Svg.Seconds(values[i])}, {share * 100:0.0} %\">{(share > 0.07 ? $"{(share * 100).ToString("0", CultureInfo.InvariantCulture)} %" : "")}</div>");
        }

        return html.Append("</div>").ToString();
    }

    /// <summary>Columns over the steps, neighbours averaged when there are many.</summary>
    public static string Columns(IReadOnlyList<MetricPoint> points)
    {
        var split = points.Where(point => point.Parts is not null).ToList();
        if (split.Count == 0)
            return "<p class=\"none\">No step says where its time went.</p>";
        var per = (split.Count + MostColumns - 1) / MostColumns;
        var columns = split.Chunk(per).Select(chunk => (
            First: chunk[0].Step, Last: chunk[^1].Step,
            Values: Enumerable.Range(0, Svg.Parts.Count).Select(part => chunk.Average(point => Values(point.Parts)[part])).ToArray())).ToList();

        // One slow step, such as the first, must not flatten the others.
        var sums = columns.Select(column => column.Values.Sum()).Order().ToList();
        var most = Math.Min(sums[^1], sums[sums.Count / 2] * 3) * 1.05;
        var (each, plot) = ((Width - Left - Right) / columns.Count, Height - Top - Bottom);
        var svg = new StringBuilder();
        svg.Append(CultureInfo.InvariantCulture, $"<svg viewBox=\"0 0 {Width} {Height}\" role=\"img\" aria-label=\"Parts of step time over steps\">");
        foreach (var tick in Svg.Ticks(0, most, 4))
        {
            var y = Svg.Number(Height - Bottom - (plot * tick / most));
            svg.Append(CultureInfo.InvariantCulture, $"<line class=\"grid\" x1=\"{Left}\" x2=\"{Width - Right}\" y1=\"{y}\" y2=\"{y}\"/><text class=\"tick\" x=\"{Left - 8}\" y=\"{y}\" dy=\"4\" text-anchor=\"end\">{Svg.Seconds(tick)}</text>");
        }

        for (var c = 0; c < columns.Count; c++)
        {
            var (first, last, values) = columns[c];
            svg.Append(CultureInfo.InvariantCulture, $"<g><title>step{(first == last ? $" {first}" : $"s {first} to {last}")}: {string.Join(", ", values.Select((value, part) => (value, part)).Where(each => each.value > 0).Select(each => $"{Svg.Parts[each.part]} {Svg.Seconds(each.value)}"))}</title>");
            var top = Height - Bottom;
            for (var part = 0; part < values.Length; part++)
            {
                var height = Math.Min(plot * values[part] / most, top - Top);
                if (height > 0.05)
                    svg.Append(CultureInfo.InvariantCulture, $"<rect class=\"f-{Svg.Parts[part]}\" x=\"{Svg.Number(Left + (c * each))}\" y=\"{Svg.Number(top - height)}\" width=\"{Svg.Number(Math.Max(0.5, each - (each > 4 ? 1 : 0)))}\" height=\"{Svg.Number(height)}\"/>");
                top -= height;
            }

            svg.Append("</g>");
        }

        foreach (var c in Svg.Ticks(0, columns.Count - 1, 8).Where(tick => tick == Math.Floor(tick)).Select(tick => (int)tick))
            svg.Append(CultureInfo.InvariantCulture, $"<text class=\"tick\" x=\"{Svg.Number(Left + ((c + 0.5) * each))}\" y=\"{Height - 8}\" text-anchor=\"middle\">{columns[c].First}</text>");
        return svg.Append("</svg>").ToString();
    }
}
