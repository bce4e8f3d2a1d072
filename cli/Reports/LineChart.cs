using System.Globalization;
using System.Text;

namespace Platform.Cli.Reports;

/// <summary>A line of a chart.</summary>
/// <param name="Name">What it shows.</param>
/// <param name="Style">Its class: <c>l1</c> or <c>l2</c>.</param>
/// <param name="Points">Step and value, by step.</param>
internal sealed record ChartLine(string Name, string Style, IReadOnlyList<(double X, double Y)> Points);

/// <summary>Values over steps.</summary>
internal static class LineChart
{
    private const double Width = 620, Height = 250, Left = 58, Right = 12, Top = 12, Bottom = 30;
    private const int MostPoints = 600;

    /// <summary>Draws lines over a common axis.</summary>
    /// <param name="label">What is drawn, for screen readers.</param>
    /// <param name="fromZero">The axis begins at zero.</param>
    /// <param name="lines">The lines.</param>
    public static string Draw(string label, bool fromZero, params ChartLine[] lines)
    {
        var points = lines.SelectMany(line => line.Points).Where(point => double.IsFinite(point.Y)).ToList();
        if (points.Count == 0)
            return "<p class=\"none\">No step has been reported.</p>";
        var (x0, x1) = (points.Min(point => point.X), points.Max(point => point.X));
        var (y0, y1) = (fromZero ? 0 : points.Min(point => point.Y), points.Max(point => point.Y));
        var margin = y1 > y0 ? (y1 - y0) * 0.05 : Math.Max(Math.Abs(y1) * 0.05, 1e-9);
        (y0, y1) = (fromZero ? 0 : y0 - margin, y1 + margin);
        double X(double x) => Left + ((Width - Left - Right) * (x1 > x0 ? (x - x0) / (x1 - x0) : 0.5));
        double Y(double y) => Height - Bottom - ((Height - Top - Bottom) * (y - y0) / (y1 - y0));

        var svg = new StringBuilder();
        svg.Append(CultureInfo.InvariantCulture, $"<svg viewBox=\"0 0 {Width} {Height}\" role=\"img\" aria-label=\"{Svg.Text(label)}\">");
        foreach (var tick in Svg.Ticks(y0, y1, 5))
            svg.Append(CultureInfo.InvariantCulture, $"<line class=\"grid\" x1=\"{Left}\" x2=\"{Width - Right}\" y1=\"{Svg.Number(Y(tick))}\" y2=\"{Svg.Number(Y(tick))}\"/><text class=\"tick\" x=\"{Left - 8}\" y=\"{Svg.Number(Y(tick) + 4)}\" text-anchor=\"end\">{Svg.Tick(tick)}</text>");
        foreach (var tick in Svg.Ticks(x0, x1, 8).Where(tick => tick == Math.Floor(tick)))
            svg.Append(CultureInfo.InvariantCulture, $"<text class=\"tick\" x=\"{Svg.Number(X(tick))}\" y=\"{Height - 10}\" text-anchor=\"middle\">{Svg.Tick(tick)}</text>");
        foreach (var line in lines.Where(line => line.Points.Count > 0))
        {
            var shown = Thin(line.Points);
            svg.Append(CultureInfo.InvariantCulture, $"<polyline class=\"line {line.Style}\" points=\"{string.Join(' ', shown.Select(point => $"{Svg.Number(X(point.X))},{Svg.Number(Y(point.Y))}"))}\"/>");

            // A point of its own for what few points say, and something to point at for the rest.
            var every = Math.Max(1, shown.Count / 120);
            foreach (var point in shown.Where((_, i) => i % every == 0 || i == shown.Count - 1))
                svg.Append(CultureInfo.InvariantCulture, $"<circle class=\"dot {line.Style}{(shown.Count > 40 ? " faint" : "")}\" cx=\"{Svg.Number(X(point.X))}\" cy=\"{Svg.Number(Y(point.Y))}\" r=\"3\"><title>step {point.X:0}: {Svg.Text(line.Name)} {point.Y:G5}</title></circle>");
        }

        return svg.Append("</svg>").ToString();
    }

    /// <summary>At most so many points, the last among them.</summary>
    private static List<(double X, double Y)> Thin(IReadOnlyList<(double X, double Y)> points)
    {
        var every = Math.Max(1, (points.Count + MostPoints - 1) / MostPoints);
        return [.. points.Where((point, i) => double.IsFinite(point.Y) && (i % every == 0 || i == points.Count - 1))];
    }
}
