using System.Runtime.Intrinsics;
using System.Text.Json;
using Platform.EndToEnd.Tests.Harness;
using Platform.Testing;
using Platform.V1;
using Xunit;

#pragma warning disable xUnit1069 // Every test gets the token through Cancellation.

namespace Platform.EndToEnd.Tests;

/// <summary>What the platform foresees of a run and what it knows afterwards.</summary>
public sealed class InsightTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    /// <summary>The short form of <c>make bench-memory</c>: two layouts of more than 1 GiB per rank within a tenth.</summary>
    [Fact(Timeout = 180_000)]
    public async Task Ranks_hold_as_many_bytes_as_the_planner_predicts()
    {
        Assert.SkipUnless(Vector512.IsHardwareAccelerated, "The plan counts what the engine's kernels keep, and they need 512-bit vectors.");
        var (code, output) = await RunningProgram.RunAsync(Checkout.Benchmarks, ["memory", "--quick"], Cancellation);

        Assert.True(code == 0, output);
        Assert.Contains("memory_layouts=2", output, StringComparison.Ordinal);
    }

    [Fact(Timeout = 240_000)]
    public async Task A_planned_job_shows_predicted_beside_measured_its_timeline_and_its_report()
    {
        using var directory = new TemporaryDirectory();
        string data = directory.Write("text.txt", SmallJobs.Text(seed: 3));
        string job = directory.Write("job.yaml", SmallJobs.Yaml("planned", data, 2, 2, 2, steps: 6, checkpointEvery: 3));
        await using var server = await StandaloneServer.StartAsync(directory.Sub("data"), Cancellation);
        var plan = await server.CliAsync(Cancellation, "plan", job, "--set", "parallelism=auto", "-o", "json");
        Assert.True(plan.ExitCode == 0, plan.Output);
        Assert.True(JsonDocument.Parse(plan.Output).RootElement.GetProperty("stepSeconds").GetDouble() > 0);

        var (code, output) = await server.CliAsync(Cancellation, "train", job, "--watch");
        Assert.True(code == 0, output);
        string name = output.TrimEnd().Split('\n')[^1].Trim();

        var finished = await server.Jobs.GetJobAsync(new GetJobRequest { Name = name }, cancellationToken: Cancellation);
        Assert.Equal(8, finished.Measured.RankBytes.Count);
        Assert.All(finished.Measured.RankBytes, bytes => Assert.True(bytes > 0));
        Assert.True(finished.Measured.ModelFlopsUtilization > 0 && finished.Measured.Parts.Bubble > 0 && finished.DeviceHours > 0);
        Assert.True(finished.Predicted.BytesPerRank > 0);
        var shown = await server.CliAsync(Cancellation, "jobs", "get", name);
        Assert.Contains("memory of the fullest rank", shown.Output, StringComparison.Ordinal);

        string trace = directory.File("trace.json"), report = directory.File("report.html");
        Assert.Equal(0, (await server.CliAsync(Cancellation, "jobs", "trace", name, "-o", trace)).ExitCode);
        using var timeline = JsonDocument.Parse(await File.ReadAllBytesAsync(trace, Cancellation));
        var events = timeline.RootElement.GetProperty("traceEvents").EnumerateArray().ToList();
        Assert.Equal(Enumerable.Range(0, 8), events.Select(each => each.GetProperty("pid").GetInt32()).Distinct().Order());
        Assert.Contains(events, each => each.GetProperty("name").GetString() == "backward");
        Assert.Equal(0, (await server.CliAsync(Cancellation, "jobs", "report", name, "-o", report)).ExitCode);
        Assert.Contains("Predicted and measured", await File.ReadAllTextAsync(report, Cancellation), StringComparison.Ordinal);
    }
}
