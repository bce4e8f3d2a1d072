namespace Platform.Cli.Reports;

/// <summary>The report's style sheet: light or dark as the reader's system is.</summary>
internal static class ReportStyle
{
    public const string Css = """
        :root { color-scheme: light dark; --bg: #f6f7f9; --card: #fff; --ink: #1b2330; --soft: #5d6878; --edge: #e1e5ea; --grid: #eceff3; --lane: #f1f3f6;
          --compute: #3572e0; --communication: #e8862e; --bubble: #b3bcc8; --data: #2fa36b; --optimizer: #8a5bd6; --checkpoint: #d6455d; --other: #8e99a8;
          --good: #1e8e5a; --bad: #c5384f; --busy: #2f6fdf; }
        @media (prefers-color-scheme: dark) { :root { --bg: #11151b; --card: #191f28; --ink: #e7ebf1; --soft: #98a4b5; --edge: #2a323e; --grid: #252d38; --lane: #202732;
          --compute: #5b93f5; --communication: #f0a050; --bubble: #56616f; --data: #45bd84; --optimizer: #a982ea; --checkpoint: #ea6a7f; --other: #727e8e;
          --good: #4cc48c; --bad: #f0707f; --busy: #6ea2ff; } }
        * { box-sizing: border-box; }
        body { margin: 0; background: var(--bg); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
        main { max-width: 1340px; margin: 0 auto; padding: 32px 24px 64px; }
        h1 { font-size: 26px; margin: 0 0 4px; display: flex; align-items: center; gap: 12px; flex-wrap: wrap; }
        h2 { font-size: 16px; margin: 0 0 12px; }
        .badge { font-size: 13px; font-weight: 600; padding: 2px 10px; border-radius: 999px; color: #fff; background: var(--busy); }
        .badge.succeeded { background: var(--good); } .badge.failed, .badge.cancelled { background: var(--bad); }
        .sub, .hint { color: var(--soft); margin: 0 0 20px; } .hint { margin-bottom: 8px; font-size: 13px; }
        .tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin-bottom: 16px; }
        .tile, section { background: var(--card); border: 1px solid var(--edge); border-radius: 10px; }
        .tile { padding: 12px 16px; } .tile b { display: block; font-size: 21px; font-variant-numeric: tabular-nums; } .tile span { color: var(--soft); font-size: 13px; }
        .two { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 16px; } .two > *, main > section { min-width: 0; }
        section { padding: 18px 20px; margin-bottom: 16px; } .two section { margin: 0; } .two { margin-bottom: 16px; }
        svg { width: 100%; height: auto; display: block; } .wide { overflow-x: auto; } .wide svg { min-width: 860px; }
        .grid { stroke: var(--grid); } .tick { fill: var(--soft); font-size: 12px; } .lane { fill: var(--lane); }
        .line { fill: none; stroke-width: 2; stroke-linejoin: round; } .l1 { stroke: var(--compute); } .l2 { stroke: var(--communication); }
        .dot { stroke: none; } .dot.l1 { fill: var(--compute); } .dot.l2 { fill: var(--communication); } .dot.faint { fill-opacity: 0; } .dot.faint:hover { fill-opacity: 1; }
        .f-compute { fill: var(--compute); } .f-communication { fill: var(--communication); } .f-bubble { fill: var(--bubble); } .f-data { fill: var(--data); }
        .f-optimizer { fill: var(--optimizer); } .f-checkpoint { fill: var(--checkpoint); } .f-other { fill: var(--other); } .backward { fill-opacity: .72; }
        .b-compute { background: var(--compute); } .b-communication { background: var(--communication); } .b-bubble { background: var(--bubble); } .b-data { background: var(--data); }
        .b-optimizer { background: var(--optimizer); } .b-checkpoint { background: var(--checkpoint); } .b-other { background: var(--other); }
        .bar { display: flex; height: 30px; border-radius: 6px; overflow: hidden; margin-bottom: 8px; gap: 1px; }
        .bar div { flex-basis: 0; min-width: 2px; color: #fff; font-size: 12px; font-weight: 600; display: flex; align-items: center; justify-content: center; }
        .legend { margin: 8px 0; font-size: 13px; color: var(--soft); display: flex; flex-wrap: wrap; gap: 4px 16px; } .legend i { width: 10px; height: 10px; border-radius: 3px; display: inline-block; margin-right: 6px; }
        .key1, .key2 { font-size: 13px; font-weight: 400; color: var(--soft); margin-left: 12px; } .key1::before, .key2::before { content: ""; display: inline-block; width: 14px; height: 3px; margin: 0 6px 4px 0; background: var(--compute); } .key2::before { background: var(--communication); }
        table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; } th, td { text-align: left; padding: 6px 12px 6px 0; border-bottom: 1px solid var(--edge); vertical-align: top; }
        th { color: var(--soft); font-weight: 500; font-size: 13px; } td.n, th.n { text-align: right; } tr:last-child td { border-bottom: 0; }
        pre { margin: 0; overflow-x: auto; font: 13px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
        .none { color: var(--soft); } .bad { color: var(--bad); } footer { color: var(--soft); font-size: 13px; }
        @media print { body { background: #fff; } section, .tile { break-inside: avoid; } }
        """;
}
