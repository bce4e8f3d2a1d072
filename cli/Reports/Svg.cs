using System.Globalization;
using System.Net;
using System.Text;

namespace Platform.Cli.Reports;

/// <summary>Pieces of inline SVG and HTML. Everything from outside is encoded.</summary>
internal static class Svg
{
    /// <summary>Parts of a step in the order in which they are drawn.</summary>
    public static IReadOnlyList<string> Parts { get; } = ["compute", "communication", "bubble", "data", "optimizer", "checkpoint", "other"];

    /// <summary>Text as HTML.</summary>
    public static string Text(string text) => WebUtility.HtmlEncode(text);

    /// <summary>A number for a coordinate.</summary>
    public static string Number(double value) => Math.Round(value, 2).ToString("0.##", CultureInfo.InvariantCulture);

    /// <summary>A figure on an axis.</summary>
    public static string Tick(double value) => Math.Abs(value) switch
    {
        0 => "0",
        >= 1e9 => (value / 1e9).ToString("0.##", CultureInfo.InvariantCulture) + "B",
        >= 1e6 => (value / 1e6).ToString("0.##", CultureInfo.InvariantCulture) + "M",
        >= 1e4 => (value / 1e3).ToString("0.##", CultureInfo.InvariantCulture) + "k",
        >= 0.01 => value.ToString("0.###", CultureInfo.InvariantCulture),
        _ => value.ToString("0.#e+0", CultureInfo.InvariantCulture),
    };

    /// <summary>A length of time.</summary>
    public static string Seconds(double seconds) => seconds switch
    {
        >= 100 => Output.Show.Span(TimeSpan.FromSeconds(Math.Min(seconds, 1e9))),
        >= 1 => seconds.ToString("0.00", CultureInfo.InvariantCulture) + " s",
        >= 1e-3 => (seconds * 1e3).ToString("0.0", CultureInfo.InvariantCulture) + " ms",
        _ => (seconds * 1e6).ToString("0", CultureInfo.InvariantCulture) + " µs",
    };

    /// <summary>Round values that divide a range into about so many parts.</summary>
    public static IReadOnlyList<double> Ticks(double from, double to, int about)
    {
        if (!(to > from))
            return [from];
        var raw = (to - from) / about;
        var magnitude = Math.Pow(10, Math.Floor(Math.Log10(raw)));
        var step = magnitude * ((raw / magnitude) switch { < 1.5 => 1, < 3.5 => 2, < 7.5 => 5, _ => 10 });
        var ticks = new List<double>();
        for (var value = Math.Ceiling(from / step) * step; value <= to + (step * 1e-9); value += step)
            ticks.Add(Math.Abs(value) < step * 1e-9 ? 0 : value);
        return ticks;
    }

    /// <summary>The legend of parts that are there.</summary>
    public static string Legend(IEnumerable<string> parts)
    {
        var html = new StringBuilder("<p class=\"legend\">");
        foreach (var part in parts)
            html.Append(CultureInfo.InvariantCulture, $"<span><i class=\"b-{part}\"></i>{part}</span>");
        return html.Append("</p>").ToString();
    }
}
