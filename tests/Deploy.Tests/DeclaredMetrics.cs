using System.Text.RegularExpressions;

namespace Platform.Deploy.Tests;

/// <summary>What the *Metrics.cs files of the services export, read from their sources.</summary>
internal static partial class DeclaredMetrics
{
    private static readonly string[] Files =
        [.. Repository.Sources.Where(source => Path.GetFileName(source.Key).EndsWith("Metrics.cs", StringComparison.Ordinal)).Select(source => source.Value)];

    // Said by Prometheus itself.
    private static readonly string[] Others = ["up"];

    // Given by Prometheus (job, instance), by histograms (le) and by prometheus.yml (training_job).
    private static readonly string[] OtherLabels = ["job", "instance", "le", "training_job"];

    /// <summary>Kind (Counter, Gauge, Histogram) by name.</summary>
    public static IReadOnlyDictionary<string, string> ByName { get; } = Files.SelectMany(Read).GroupBy(metric => metric.Name).ToDictionary(
        group => group.Key, group => group.First().Kind);

    /// <summary>Every literal of these files that could be a label's name.</summary>
    public static IReadOnlySet<string> Labels { get; } =
        Files.SelectMany(file => Literal().Matches(file)).Select(match => match.Groups[1].Value).Concat(OtherLabels).ToHashSet();

    /// <summary>Whether a series of this name can exist.</summary>
    public static bool Exports(string series) =>
        Others.Contains(series)
        || (ByName.TryGetValue(series, out var kind) && kind != "Histogram")
        || (HistogramSeries().Match(series) is { Success: true } match && ByName.GetValueOrDefault(match.Groups[1].Value) == "Histogram");

    /// <summary>Fails unless every series and label of the expressions exists.</summary>
    public static void Cover(IEnumerable<(string Where, string Expression)> expressions, IReadOnlySet<string> recorded)
    {
        var dangling =
            from entry in expressions
            let query = PromQl.Read(entry.Expression)
            from name in query.Metrics.Where(metric => !recorded.Contains(metric) && !Exports(metric))
                .Concat(query.Labels.Where(label => !Labels.Contains(label)).Select(label => $"label {label}"))
            select $"{entry.Where}: {name}";
        Expect.None(dangling);
    }

    private static IEnumerable<(string Name, string Kind)> Read(string source)
    {
        foreach (Match direct in Direct().Matches(source))
            yield return (direct.Groups["name"].Value, direct.Groups["kind"].Value);
        foreach (Match factory in Factory().Matches(source))
        {
            var call = new Regex($"""(?<![\w.]){factory.Groups["method"].Value}\(\s*"(?<name>\w+)(?=")""");
            foreach (Match use in call.Matches(source))
                yield return (factory.Groups["prefix"].Value + use.Groups["name"].Value, factory.Groups["kind"].Value);
        }
    }

    // Metrics.CreateGauge("name", ...
    [GeneratedRegex("""Create(?<kind>Counter|Gauge|Histogram|Summary)\(\s*"(?<name>\w+)(?=")""")]
    private static partial Regex Direct();

    // Gauge Job(string name, string help) => Metrics.CreateGauge(name, ...   or   CreateGauge($"prefix_{name}", ...
    [GeneratedRegex("""(?<method>\w+)\(string (?<parameter>\w+)[^)]*\)\s*=>\s*Metrics\.Create(?<kind>\w+?)\(\s*(?:\k<parameter>\b|\$"(?<prefix>\w*)\{\k<parameter>\}")""")]
    private static partial Regex Factory();

    [GeneratedRegex("""
        "([a-z_]\w*)"
        """)]
    private static partial Regex Literal();

    [GeneratedRegex("^(.*)_(?:bucket|sum|count)$")]
    private static partial Regex HistogramSeries();
}
