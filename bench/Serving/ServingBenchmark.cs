using System.Globalization;
using Platform.Core.Deployments;

namespace Platform.Benchmarks.Serving;

/// <summary>
/// The serving engine beside llama.cpp on the same weights and threads, runs interleaved, and beside itself: static batches,
/// neighbours of a long prompt, prefix hits, memory; and whether both choose the same tokens. Or an open-loop load on an endpoint.
/// </summary>
internal static class ServingBenchmark
{
    private const string Usage = """
        serve [--quick] [--details] [--only NAME,...] [--dtype bf16|fp32|int8] [--repetitions N] [--keep DIR]
        serve --url http://localhost:8080 --model NAME [--request-rate R] [--requests N] [--max-tokens N] [--prompt-words N] [--api-key KEY]
              [--goodput ttft:SECONDS,tpot:SECONDS]
        """;

    private static readonly string[] Beside =
    [
        "decode_1_stream", "decode_16_streams", "prefill", "continuous_vs_static", "stall_over_median_itl", "prefix_hit_ttft", "prefix_overhead",
        "kv_waste", "wake", "managed_bytes_per_iteration", "soak", "ready", "draft_decode", "lora_16_streams",
    ];

    public static int Run(string[] args)
    {
        var options = BenchArguments.Parse(args);
        if (options is null)
        {
            Console.Error.WriteLine(Usage);
            return 2;
        }

        if (options.Value("url") is { } url)
            return OpenLoop.RunAsync(url, options).GetAwaiter().GetResult();
        var directory = options.Value("keep") ?? Directory.CreateTempSubdirectory("platform-bench-").FullName;
        try
        {
            return Compare(options, directory);
        }
        finally
        {
            if (options.Value("keep") is null)
                Directory.Delete(directory, recursive: true);
        }
    }

    private static int Compare(BenchArguments options, string directory)
    {
        var quick = options.Has("quick");
        var report = new BenchReport(options.Value("only")?.Split(',').ToHashSet());
        var engine = new EngineOptions { Dtype = options.Value("dtype") ?? "bf16", KvCacheBytes = 1L << 30 };
        if (report.Wants("llama_equality"))
            LlamaEquality.Run(Path.Combine(directory, "fp32"), report, quick);
        if (!report.Wants(Beside))
        {
            report.Write(Console.Out);
            return 0;
        }

        var model = BenchModel.Write(BenchModel.Shape(quick), directory);
        Console.WriteLine($"{Environment.ProcessorCount} processors, .NET {Environment.Version}, {model.Config.ParameterCount / 1e6:0} million parameters in {engine.Dtype}");
        if (report.Wants("decode_1_stream", "decode_16_streams", "prefill"))
            BesideLlamaCpp.Run(model, engine, report, options.Number("repetitions", quick ? 1 : 5), quick);
        if (report.Wants("continuous_vs_static"))
            AgainstItself.Static(model, engine, report, quick ? 64 : 512);
        if (report.Wants("stall_over_median_itl"))
            StallBenchmark.Run(model, engine, report, options.Number("repetitions", quick ? 1 : 5), options.Has("details"));
        if (report.Wants("prefix_hit_ttft"))
            AgainstItself.PrefixHit(model, engine, report, quick ? 1 : 5);
        if (report.Wants("prefix_overhead"))
            AgainstItself.PrefixOverhead(model, engine, report, quick ? 2 : 24);
        if (report.Wants("kv_waste"))
            AgainstItself.Oversubscribed(model, engine, report);
        if (report.Wants("wake"))
            WakeBenchmark.Run(model, engine, report, quick ? 2 : 7);
        if (report.Wants("managed_bytes_per_iteration", "soak"))
            Steady(engine, report, quick);
        if (report.Wants("ready"))
            Startup.Ready(model, engine, report, quick ? 1 : 5);
        if (report.Wants("draft_decode"))
            BesideTheModel.Draft(options, engine, report, options.Number("repetitions", quick ? 1 : 5));
        if (report.Wants("lora_16_streams"))
            BesideTheModel.Adapters(model, engine, report, options.Number("repetitions", quick ? 1 : 5));
        report.Write(Console.Out);
        return 0;
    }

    private static void Steady(EngineOptions engine, BenchReport report, bool quick)
    {
        var directory = Directory.CreateTempSubdirectory("platform-bench-tiny-");
        try
        {
            var tiny = BenchModel.Write(BenchModel.Tiny(), directory.FullName);
            if (report.Wants("managed_bytes_per_iteration"))
                SteadyState.Allocation(tiny, engine, report);
            if (report.Wants("soak"))
                SteadyState.Soak(tiny, engine, report, quick ? 5_000 : 100_000);
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }
}

/// <summary>Options of the form <c>--name value</c>, or <c>--name</c> alone for the known switches.</summary>
internal sealed class BenchArguments
{
    private static readonly HashSet<string> Switches = ["quick", "details"];
    private static readonly HashSet<string> Valued =
        ["only", "dtype", "repetitions", "keep", "url", "model", "request-rate", "requests", "max-tokens", "prompt-words", "api-key", "goodput", "seed"];

    private readonly Dictionary<string, string> _values = [];

    private BenchArguments()
    {
    }

    /// <summary>Reads arguments; null when one is unknown.</summary>
    public static BenchArguments? Parse(string[] args)
    {
        var parsed = new BenchArguments();
        for (var i = 0; i < args.Length; i++)
        {
            var name = args[i].StartsWith("--", StringComparison.Ordinal) ? args[i][2..] : "";
            if (Switches.Contains(name))
                parsed._values[name] = "";
            else if (Valued.Contains(name) && i + 1 < args.Length)
                parsed._values[name] = args[++i];
            else
                return null;
        }

        return parsed;
    }

    public bool Has(string name) => _values.ContainsKey(name);

    public string? Value(string name) => _values.GetValueOrDefault(name);

    public int Number(string name, int fallback) => Value(name) is { } text ? int.Parse(text, CultureInfo.InvariantCulture) : fallback;

    public double Real(string name, double fallback) => Value(name) is { } text ? double.Parse(text, CultureInfo.InvariantCulture) : fallback;
}

/// <summary>Rows for people, then figures for scripts.</summary>
internal sealed class BenchReport(IReadOnlySet<string>? only)
{
    private readonly List<(string What, string Ours, string Theirs, string Ratio)> _rows = [];
    private readonly List<(string Name, double Value)> _figures = [];

    /// <summary>Whether any of these was asked for.</summary>
    public bool Wants(params ReadOnlySpan<string> names)
    {
        foreach (var name in names)
        {
            if (only is null || only.Contains(name))
                return true;
        }

        return false;
    }

    public void Row(string what, string ours, string theirs = "", string ratio = "") => _rows.Add((what, ours, theirs, ratio));

    public void Figure(string name, double value) => _figures.Add((name, value));

    public void Write(TextWriter output)
    {
        output.WriteLine($"{"",-44}{"here",22}{"compared with",28}{"ratio",10}");
        foreach (var (what, ours, theirs, ratio) in _rows)
            output.WriteLine($"{what,-44}{ours,22}{theirs,28}{ratio,10}");
        foreach (var (name, value) in _figures)
            output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{name}={value:0.####}"));
    }

    public static double Median(IEnumerable<double> values)
    {
        var ordered = values.Order().ToArray();
        return ordered.Length % 2 == 1 ? ordered[ordered.Length / 2] : (ordered[(ordered.Length / 2) - 1] + ordered[ordered.Length / 2]) / 2;
    }
}
