using System.Runtime.CompilerServices;
using System.Text.Json;

namespace Platform.Worker.Engine.Tests.Golden;

/// <summary>A recorded step.</summary>
internal sealed record GoldenStep(double Loss, double GradNorm, double? EvalLoss);

/// <summary>
/// Losses of small runs, recorded on one kind of machine: <c>losses.json</c> beside this source. Record them anew with
/// <c>RECORD_GOLDEN=1</c>, after a change that is meant to move them.
/// </summary>
internal sealed record GoldenFile(string Machine, SortedDictionary<string, IReadOnlyList<GoldenStep>> Runs)
{
    private static readonly JsonSerializerOptions Options = new(JsonSerializerDefaults.Web)
    {
        WriteIndented = true,
        NewLine = "\n",
        DefaultIgnoreCondition = System.Text.Json.Serialization.JsonIgnoreCondition.WhenWritingNull,
    };

    public static bool IsRecording => Environment.GetEnvironmentVariable("RECORD_GOLDEN") == "1";

    public static GoldenFile Read() =>
        JsonSerializer.Deserialize<GoldenFile>(File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "Golden", "losses.json")), Options)
        ?? throw new InvalidDataException("losses.json holds null.");

    /// <summary>Replaces one run in the source file; all runs of another machine go.</summary>
    public static void Record(string run, IReadOnlyList<GoldenStep> steps)
    {
        var path = Path.Combine(SourceFolder(), "losses.json");
        var known = File.Exists(path) ? JsonSerializer.Deserialize<GoldenFile>(File.ReadAllText(path), Options) : null;
        var runs = known?.Machine == GoldenMachine.Name ? known.Runs : new(StringComparer.Ordinal);
        runs[run] = steps;
        File.WriteAllText(path, JsonSerializer.Serialize(new GoldenFile(GoldenMachine.Name, runs), Options) + "\n");
    }

    private static string SourceFolder([CallerFilePath] string file = "") =>
        Path.GetDirectoryName(file) ?? throw new InvalidOperationException("The source file has no folder.");
}
