using System.CommandLine;
using Platform.Cli.Output;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Simulation;

namespace Platform.Cli.Commands;

/// <summary><c>platform simulate TRACE</c>: gangs that arrive and end, through the scheduling core over a virtual clock.</summary>
internal sealed class ReplayRun
{
    /// <summary>Where the picture goes.</summary>
    public Option<string> Timeline { get; } = new("--timeline") { Description = "With TRACE: draw gangs on devices over time, into FILE.svg or FILE.html.", HelpName = "FILE" };

    /// <summary>How long a gang runs before it may be asked to make room.</summary>
    public Option<double> MinRuntime { get; } = new("--min-runtime") { Description = "With TRACE: seconds a gang runs before it may be asked to make room.", HelpName = "SECONDS", DefaultValueFactory = _ => 120 };

    /// <summary>How long an elastic gang runs at one width.</summary>
    public Option<double> ElasticMinRuntime { get; } = new("--elastic-min-runtime") { Description = "With TRACE: seconds an elastic gang runs at one width before it takes idle devices.", HelpName = "SECONDS", DefaultValueFactory = _ => 300 };

    /// <summary>Nobody makes room.</summary>
    public Option<bool> NoPreemption { get; } = new("--no-preemption") { Description = "With TRACE: nobody makes room for others." };

    /// <summary>Nobody starts before another.</summary>
    public Option<bool> NoBackfill { get; } = new("--no-backfill") { Description = "With TRACE: nobody starts before one that has to wait." };

    /// <summary>Reads, runs, draws and prints.</summary>
    public int Run(CommandRunner runner, ParseResult parse, string file, string nodes, string policy, CancellationToken cancellation)
    {
        var terminal = runner.Terminal;
        string? picture = parse.GetValue(Timeline);
        if (picture is not null && !IsSvg(picture) && !picture.EndsWith(".html", StringComparison.OrdinalIgnoreCase))
            throw new CommandException($"--timeline: expected a name that ends in .svg or .html, found '{picture}'.");
        var trace = Read(terminal, file, nodes);
        var result = ClusterReplay.Run(
            trace,
            new ReplayOptions
            {
                Cycle = new CycleOptions
                {
                    Policy = policy,
                    MinRuntime = TimeSpan.FromSeconds(parse.GetValue(MinRuntime)),
                    ElasticMinRuntime = TimeSpan.FromSeconds(parse.GetValue(ElasticMinRuntime)),
                    Preemption = !parse.GetValue(NoPreemption),
                    Elastic = !parse.GetValue(NoPreemption),
                    Backfill = !parse.GetValue(NoBackfill),
                },
            },
            cancellation);
        if (picture is not null)
        {
            string drawn = IsSvg(picture) ? ReplayTimeline.Svg(trace, result) : ReplayTimeline.Html(trace, result, $"{Path.GetFileName(file)}: {result.Devices} devices, {policy}");
            Guarded(() => File.WriteAllText(terminal.Absolute(picture), drawn));
        }

        var format = runner.Options.Format(parse);
        if (format == OutputFormat.Table)
        {
            var table = new TextTable("FIGURE", "VALUE");
            foreach (var (name, value) in ReplayTimeline.Figures(result))
                table.Add(name, value);
            table.Write(terminal.Output, "");
            if (picture is not null)
                terminal.Output.WriteLine(picture);
        }
        else
        {
            terminal.Output.Write(format == OutputFormat.Yaml ? YamlText.Of(result.ToJson()) : result.ToJson().ToJsonString() + "\n");
        }

        return ExitCode.Success;
    }

    private static bool IsSvg(string file) => file.EndsWith(".svg", StringComparison.OrdinalIgnoreCase);

    private static ReplayTrace Read(Terminal terminal, string file, string nodes)
    {
        try
        {
            var gangs = ReplayTrace.ReadGangs(File.ReadLines(terminal.Absolute(file)));
            string kind = gangs.Count > 0 ? gangs[0].Shape.DeviceKind : "cuda";
            return new ReplayTrace(ReplayTrace.NodesOf(nodes, kind) ?? ClusterTrace.ReadNodes(File.ReadLines(terminal.Absolute(nodes))), gangs);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or TraceFormatException)
        {
            throw new CommandException(error.Message);
        }
    }

    private static void Guarded(Action write)
    {
        try
        {
            write();
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new CommandException(error.Message);
        }
    }
}
