using System.Globalization;
using System.Net;
using System.Text;
using Platform.Scheduling.Cycle;

namespace Platform.Scheduling.Simulation;

/// <summary>
/// A replay as a picture: devices × time with a bar for each time in which a gang held a device, and above it the share of devices
/// in use and the gangs that wait. One SVG document without references to anything else, light or dark as the reader's system is.
/// </summary>
public static class ReplayTimeline
{
    private const double Left = 96;
    private const double Width = 1180;
    private const double Right = 24;
    private const double Chart = 64;
    private const double Top = 78;
    private const int Hues = 10;
    private const int NamedBars = 400;

    private const string Style = """
        svg { color-scheme: light dark; background: var(--bg); font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
          --bg: #f6f7f9; --card: #fff; --ink: #1b2330; --soft: #5d6878; --grid: #e4e8ed; --lane: #eef1f5; --use: #3572e0; --wait: #e8862e; --sat: 62%; --light: 58%; --text: #fff; }
        @media (prefers-color-scheme: dark) { svg { --bg: #11151b; --card: #191f28; --ink: #e7ebf1; --soft: #98a4b5; --grid: #2a323e; --lane: #1d242e; --use: #6ea2ff; --wait: #f0a050; --sat: 48%; --light: 50%; } }
        .h { font-size: 16px; font-weight: 600; fill: var(--ink); } .s { fill: var(--soft); } .g { stroke: var(--grid); stroke-width: 1; } .l { fill: var(--lane); }
        .use { fill: var(--use); fill-opacity: .22; stroke: var(--use); stroke-width: 1.5; } .wait { fill: none; stroke: var(--wait); stroke-width: 1.5; }
        .b { stroke: var(--bg); stroke-width: .6; } .n { fill: var(--text); font-size: 11px; pointer-events: none; } .cut { stroke: var(--ink); stroke-width: 1.4; }
        """;

    /// <summary>The picture as an SVG document.</summary>
    public static string Svg(ReplayTrace trace, ReplayResult result)
    {
        ArgumentNullException.ThrowIfNull(trace);
        ArgumentNullException.ThrowIfNull(result);
        return new Drawing(trace.Cluster, result).Draw();
    }

    /// <summary>The picture under a table of the figures, as a page of its own.</summary>
    public static string Html(ReplayTrace trace, ReplayResult result, string title)
    {
        ArgumentNullException.ThrowIfNull(result);
        var html = new StringBuilder();
        html.Append(CultureInfo.InvariantCulture, $$"""
            <!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{{Text(title)}}</title><style>
            :root { color-scheme: light dark; --bg: #f6f7f9; --card: #fff; --ink: #1b2330; --soft: #5d6878; --edge: #e1e5ea; }
            @media (prefers-color-scheme: dark) { :root { --bg: #11151b; --card: #191f28; --ink: #e7ebf1; --soft: #98a4b5; --edge: #2a323e; } }
            body { margin: 0; background: var(--bg); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; } main { max-width: 1340px; margin: 0 auto; padding: 32px 24px 64px; }
            h1 { font-size: 24px; margin: 0 0 16px; } .tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 12px; margin-bottom: 16px; }
            .tile { background: var(--card); border: 1px solid var(--edge); border-radius: 10px; padding: 12px 16px; } .tile b { display: block; font-size: 21px; font-variant-numeric: tabular-nums; } .tile span { color: var(--soft); font-size: 13px; }
            .wide { overflow-x: auto; } svg { width: 100%; min-width: 860px; height: auto; border-radius: 10px; }
            </style></head><body><main><h1>{{Text(title)}}</h1><div class="tiles">
            """);
        foreach (var (name, value) in Figures(result))
        {
            html.Append(CultureInfo.InvariantCulture, $"<div class=\"tile\"><b>{Text(value)}</b><span>{Text(name)}</span></div>");
        }

        return html.Append("</div><div class=\"wide\">").Append(Svg(trace, result)).Append("</div></main></body></html>\n").ToString();
    }

    /// <summary>The figures of a replay with their names, as text.</summary>
    public static IReadOnlyList<(string Name, string Value)> Figures(ReplayResult result)
    {
        ArgumentNullException.ThrowIfNull(result);
        return
        [
            ("devices in use", Percent(result.Utilization)),
            ("free but useless (fragmentation)", Percent(result.Fragmentation)),
            ("wait, mean", Duration(result.Waits.Count == 0 ? 0 : result.Waits.Average())),
            ("wait, half of the gangs", Duration(result.WaitAt(0.5))),
            ("wait, 95 % of the gangs", Duration(result.WaitAt(0.95))),
            ("wait, longest", Duration(result.WaitAt(1))),
            ("gangs that ended", string.Create(CultureInfo.InvariantCulture, $"{result.Finished} of {result.Waits.Count + result.Infeasible.Count + result.NeverStarted.Count}")),
            ("never started", string.Create(CultureInfo.InvariantCulture, $"{result.Infeasible.Count + result.NeverStarted.Count}")),
            ("made room (preempted)", result.Preemptions.ToString(CultureInfo.InvariantCulture)),
            ("gave up width", result.Narrowings.ToString(CultureInfo.InvariantCulture)),
            ("took idle devices", result.Widenings.ToString(CultureInfo.InvariantCulture)),
            ("time", Duration(result.EndSeconds)),
        ];
    }

    private static string Percent(double share) => (100 * share).ToString("0.00", CultureInfo.InvariantCulture) + " %";

    private static string Duration(double seconds) => seconds switch
    {
        < 120 => seconds.ToString("0.#", CultureInfo.InvariantCulture) + " s",
        < 7200 => (seconds / 60).ToString("0.#", CultureInfo.InvariantCulture) + " min",
        < 172_800 => (seconds / 3600).ToString("0.#", CultureInfo.InvariantCulture) + " h",
        _ => (seconds / 86_400).ToString("0.#", CultureInfo.InvariantCulture) + " d",
    };

    private static string Text(string text) => WebUtility.HtmlEncode(text);

    private sealed class Drawing
    {
        private readonly ReplayResult result;
        private readonly StringBuilder svg = new();
        private readonly Dictionary<(string Node, int Device), double> lanes = [];
        private readonly List<(string Node, double Top, double Height)> rows = [];
        private readonly double laneHeight;
        private readonly double lanesTop = Top + Chart + 34;
        private readonly double lanesBottom;

        public Drawing(ClusterSnapshot cluster, ReplayResult result)
        {
            this.result = result;
            int devices = cluster.Nodes.Sum(node => node.Devices.Count);
            laneHeight = devices switch { <= 32 => 18, <= 96 => 12, <= 512 => 6, <= 2048 => 3, _ => 1.5 };
            double gap = laneHeight >= 6 ? 6 : laneHeight >= 3 ? 2 : 0, y = lanesTop;
            foreach (var node in cluster.Nodes)
            {
                rows.Add((node.Name, y, node.Devices.Count * laneHeight));
                foreach (var device in node.Devices)
                {
                    lanes[(node.Name, device.Index)] = y;
                    y += laneHeight;
                }

                y += gap;
            }

            lanesBottom = y;
        }

        public string Draw()
        {
            double height = lanesBottom + 40;
            svg.Append(CultureInfo.InvariantCulture, $"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {N(Left + Width + Right)} {N(height)}\" width=\"{N(Left + Width + Right)}\" height=\"{N(height)}\" role=\"img\"><title>Gangs on devices over time</title><style>{Style}</style>");
            svg.Append("<rect width=\"100%\" height=\"100%\" fill=\"var(--bg)\"/>");
            svg.Append(CultureInfo.InvariantCulture, $"<text class=\"h\" x=\"{N(Left)}\" y=\"26\">{result.Devices} devices, {result.Finished} gangs, policy {Text(result.Policy)}</text>");
            svg.Append(CultureInfo.InvariantCulture, $"<text class=\"s\" x=\"{N(Left)}\" y=\"46\">{Percent(result.Utilization)} in use · {Percent(result.Fragmentation)} free but useless · mean wait {Duration(result.Waits.Count == 0 ? 0 : result.Waits.Average())} · made room {result.Preemptions} · narrowed {result.Narrowings} · widened {result.Widenings}</text>");
            Lanes();
            Grid();
            Use();
            Bars();
            return svg.Append("</svg>\n").ToString();
        }

        private void Lanes()
        {
            double labelled = double.NegativeInfinity;
            foreach (var (node, top, height) in rows)
            {
                svg.Append(CultureInfo.InvariantCulture, $"<rect class=\"l\" x=\"{N(Left)}\" y=\"{N(top)}\" width=\"{N(Width)}\" height=\"{N(height)}\"/>");
                double middle = top + (height / 2);
                if (middle - labelled >= 12)
                {
                    labelled = middle;
                    svg.Append(CultureInfo.InvariantCulture, $"<text class=\"s\" x=\"{N(Left - 8)}\" y=\"{N(middle + 4)}\" text-anchor=\"end\">{Text(node.Length > 13 ? node[^13..] : node)}</text>");
                }
            }
        }

        private void Grid()
        {
            double end = Math.Max(result.EndSeconds, 1), step = Step(end / 10);
            for (double at = 0; at <= end * 1.0001; at += step)
            {
                svg.Append(CultureInfo.InvariantCulture, $"<line class=\"g\" x1=\"{N(X(at))}\" x2=\"{N(X(at))}\" y1=\"{N(Top)}\" y2=\"{N(lanesBottom)}\"/>");
                svg.Append(CultureInfo.InvariantCulture, $"<text class=\"s\" x=\"{N(X(at))}\" y=\"{N(lanesBottom + 18)}\" text-anchor=\"middle\">{Duration(at)}</text>");
            }
        }

        private void Use()
        {
            int most = Math.Max(1, result.Points.Select(point => point.Waiting).DefaultIfEmpty(0).Max());
            double bottom = Top + Chart;
            var use = new StringBuilder(string.Create(CultureInfo.InvariantCulture, $"M{N(Left)} {N(bottom)}"));
            var wait = new StringBuilder(string.Create(CultureInfo.InvariantCulture, $"M{N(Left)} {N(bottom)}"));
            double drawn = double.NegativeInfinity, y = bottom;
            foreach (var point in result.Points)
            {
                // More points than pixels are not drawn, but the last always is.
                double x = X(point.Seconds);
                if (x - drawn < 0.25 && point != result.Points[^1])
                {
                    continue;
                }

                drawn = x;
                y = bottom - (Chart * point.HeldMilli / (1000.0 * Math.Max(1, result.Devices)));
                use.Append(CultureInfo.InvariantCulture, $"H{N(x)}V{N(y)}");
                wait.Append(CultureInfo.InvariantCulture, $"H{N(x)}V{N(bottom - (Chart * point.Waiting / most))}");
            }

            svg.Append(CultureInfo.InvariantCulture, $"<path class=\"use\" d=\"{use}V{N(bottom)}Z\"/><path class=\"wait\" d=\"{wait}\"/>");
            svg.Append(CultureInfo.InvariantCulture, $"<text x=\"{N(Left - 8)}\" y=\"{N(Top + 10)}\" text-anchor=\"end\" fill=\"var(--use)\">100 %</text><text x=\"{N(Left - 8)}\" y=\"{N(Top + 24)}\" text-anchor=\"end\" fill=\"var(--wait)\">{most} wait</text><text x=\"{N(Left - 8)}\" y=\"{N(bottom)}\" text-anchor=\"end\" class=\"s\">0</text>");
        }

        private void Bars()
        {
            bool named = result.Segments.Count <= NamedBars && laneHeight >= 12;
            foreach (var segment in result.Segments)
            {
                double from = X(segment.FromSeconds), width = Math.Max(0.4, X(segment.ToSeconds) - from);
                string title = $"{segment.Gang} ({segment.Queue}), {segment.Placement.Members.Sum(member => member.Ranks.Count)} ranks, {Duration(segment.FromSeconds)} to {Duration(segment.ToSeconds)}{After(segment.End)}";
                svg.Append(CultureInfo.InvariantCulture, $"<g fill=\"hsl({Hue(segment.Gang)} var(--sat) var(--light))\"><title>{Text(title)}</title>");
                double first = double.PositiveInfinity;
                foreach (var member in segment.Placement.Members)
                {
                    // Devices side by side make one bar; shares of a device one of their height.
                    var held = member.Ranks.SelectMany(rank => rank.Devices.Select(device => (Y: lanes[(member.Node, device)], rank.DeviceMilli))).OrderBy(share => share.Y).ToList();
                    for (int at = 0; at < held.Count;)
                    {
                        int next = at + 1;
                        while (next < held.Count && held[next].DeviceMilli == 1000 && held[at].DeviceMilli == 1000 && held[next].Y - held[next - 1].Y <= laneHeight + 0.01)
                        {
                            next++;
                        }

                        double height = held[at].DeviceMilli == 1000 ? held[next - 1].Y - held[at].Y + laneHeight : laneHeight * held[at].DeviceMilli / 1000;
                        svg.Append(CultureInfo.InvariantCulture, $"<rect class=\"b\" x=\"{N(from)}\" y=\"{N(held[at].Y)}\" width=\"{N(width)}\" height=\"{N(height)}\"/>");
                        if (segment.End is SegmentEnd.Preempted or SegmentEnd.Narrowed or SegmentEnd.Widened)
                        {
                            svg.Append(CultureInfo.InvariantCulture, $"<line class=\"cut\" x1=\"{N(from + width)}\" x2=\"{N(from + width)}\" y1=\"{N(held[at].Y)}\" y2=\"{N(held[at].Y + height)}\"/>");
                        }

                        first = Math.Min(first, held[at].Y);
                        at = next;
                    }
                }

                if (named && width > 7.0 * (segment.Gang.Length + 1))
                {
                    svg.Append(CultureInfo.InvariantCulture, $"<text class=\"n\" x=\"{N(from + 5)}\" y=\"{N(first + Math.Min(13, laneHeight - 2))}\">{Text(segment.Gang)}</text>");
                }

                svg.Append("</g>");
            }
        }

        private static string After(SegmentEnd end) => end switch
        {
            SegmentEnd.Preempted => ", then made room",
            SegmentEnd.Narrowed => ", then narrowed",
            SegmentEnd.Widened => ", then widened",
            _ => "",
        };

        private double X(double seconds) => Left + (Width * seconds / Math.Max(result.EndSeconds, 1));

        /// <summary>A colour that is the same for a name everywhere.</summary>
        private static int Hue(string name)
        {
            uint hash = 2166136261;
            foreach (char letter in name)
            {
                hash = (hash ^ letter) * 16777619;
            }

            return (int)(hash % Hues) * (360 / Hues);
        }

        private static double Step(double raw)
        {
            double[] steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400, 172_800, 604_800, 1_209_600, 2_592_000];
            return steps.FirstOrDefault(step => step >= raw, Math.Max(1, Math.Ceiling(raw / 2_592_000)) * 2_592_000);
        }

        private static string N(double value) => Math.Round(value, 2).ToString("0.##", CultureInfo.InvariantCulture);
    }
}
