using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using Platform.Cli.Output;
using Platform.Scheduling.Placement;
using Platform.Scheduling.Simulation;

namespace Platform.Cli.Commands;

/// <summary><c>platform simulate</c>: the scheduler's own placement over a trace, without a server.</summary>
internal static class SimulateCommand
{
    public static Command Create(CommandRunner runner)
    {
        var trace = new Argument<string?>("TRACE") { Description = "Gangs that arrive and end: JSON lines, or the CSV of a public trace. Without it --tasks is packed.", Arity = ArgumentArity.ZeroOrOne };
        var nodes = new Option<string>("--nodes") { Description = "CSV of nodes (sn,cpu_milli,memory_mib,gpu,model), or 4x8 for four nodes of eight devices.", HelpName = "FILE", Required = true };
        var tasks = new Option<string>("--tasks") { Description = "CSV of tasks to be packed: name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,…", HelpName = "FILE" };
        var demand = new Option<double>("--demand") { Description = "With --tasks: devices asked for, over those that exist.", HelpName = "RATIO", DefaultValueFactory = _ => 1.3 };
        var policy = new Option<string>("--policy") { Description = "How places are chosen.", DefaultValueFactory = _ => PlacementPolicies.Foresight };
        policy.AcceptOnlyFromAmong([.. PlacementPolicies.Names]);
        var seeds = new Option<string>("--seeds") { Description = "With --tasks: seeds of order and draws: 42, 42-51 or 1,2,3.", HelpName = "SEEDS", DefaultValueFactory = _ => "42-51" };
        var replay = new ReplayRun();
        var command = new ExampledCommand(
            "simulate", "Run a trace through the scheduler's own core over a virtual clock, or pack a cluster with tasks, without a server.",
            "platform simulate jobs.jsonl --nodes 16x8 --timeline week.html", "platform simulate --nodes nodes.csv --tasks tasks.csv --policy fgd --seeds 42-51 -o json")
        {
            trace, nodes, tasks, demand, policy, seeds, replay.Timeline, replay.MinRuntime, replay.ElasticMinRuntime, replay.NoPreemption, replay.NoBackfill,
        };
        runner.HandleLocally(command, (parse, cancellation) =>
        {
            string chosen = parse.GetRequiredValue(policy);
            if (parse.GetValue(trace) is { } file)
                return Task.FromResult(replay.Run(runner, parse, file, parse.GetRequiredValue(nodes), chosen, cancellation));
            double ratio = parse.GetValue(demand);
            if (!(ratio > 0))
                throw new CommandException($"--demand: expected more than 0, found {ratio}.");
            string packed = parse.GetValue(tasks) ?? throw new CommandException("Give a TRACE to replay, or --tasks to pack.");
            var cluster = Read(runner.Terminal, parse.GetRequiredValue(nodes), packed);
            var wanted = Seeds(parse.GetRequiredValue(seeds));
            var results = new PackingResult[wanted.Count];
            Parallel.For(
                0, wanted.Count, new ParallelOptions { CancellationToken = cancellation, MaxDegreeOfParallelism = Environment.ProcessorCount },
                run => results[run] = PackingExperiment.Run(cluster, chosen, ratio, wanted[run]));
            Write(runner.Terminal.Output, chosen, results, runner.Options.Format(parse));
            return Task.FromResult(ExitCode.Success);
        });
        return command;
    }

    /// <summary>Reads <c>42</c>, <c>42-51</c> or <c>1,2,3</c>.</summary>
    /// <exception cref="CommandException">It is none of these.</exception>
    public static IReadOnlyList<int> Seeds(string text)
    {
        var seeds = new List<int>();
        foreach (string part in text.Split(','))
        {
            string[] ends = part.Split('-');
            if (ends.Length > 2 || !Whole(ends[0], out int first) || !Whole(ends[^1], out int last) || last < first || last - first > 9999)
                throw new CommandException($"--seeds: '{text}' is not understood; expected 42, 42-51 or 1,2,3.");
            seeds.AddRange(Enumerable.Range(first, last - first + 1));
        }

        return seeds;
    }

    private static bool Whole(string text, out int number) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number);

    private static ClusterTrace Read(Terminal terminal, string nodes, string tasks)
    {
        try
        {
            return ClusterTrace.Read(File.ReadLines(terminal.Absolute(nodes)), File.ReadLines(terminal.Absolute(tasks)));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or TraceFormatException)
        {
            throw new CommandException(error.Message);
        }
    }

    private static void Write(TextWriter output, string policy, PackingResult[] results, OutputFormat format)
    {
        double mean = results.Average(result => result.AllocatedPercent);
        if (format == OutputFormat.Table)
        {
            var table = new TextTable("SEED", "POLICY", "GPU ALLOCATED %", "PLACED", "DROPPED");
            foreach (var result in results)
                table.Add(Invariant(result.Seed), policy, Percent(result.AllocatedPercent), Invariant(result.Placed), Invariant(result.Dropped));
            table.Add("mean", policy, Percent(mean), Invariant((int)results.Average(result => result.Placed)), Invariant((int)results.Average(result => result.Dropped)));
            table.Write(output, "");
            return;
        }

        var json = new JsonObject
        {
            ["policy"] = policy,
            ["gpuAllocatedPercent"] = new JsonObject
            {
                ["mean"] = Math.Round(mean, 4),
                ["perSeed"] = new JsonArray([.. results.Select(result => JsonValue.Create(Math.Round(result.AllocatedPercent, 4)))]),
            },
        };
        output.Write(format == OutputFormat.Yaml ? YamlText.Of(json) : json.ToJsonString() + "\n");
    }

    private static string Percent(double value) => value.ToString("0.00", CultureInfo.InvariantCulture);

    private static string Invariant(int value) => value.ToString(CultureInfo.InvariantCulture);
}
