using System.Text.Json.Nodes;
using Platform.Core;
using Platform.Core.Gangs;
using Platform.Core.Jobs;
using Xunit;

namespace Platform.Worker.Engine.Tests;

/// <summary>What a run says of itself.</summary>
public sealed class MeasuringTests
{
    [Fact]
    public void Splits_the_time_of_every_step_and_sums_up_at_the_end()
    {
        using var directory = new TemporaryDirectory();
        var points = Train(directory, out _);

        Assert.Equal(5, points.Count);
        Assert.All(points, point =>
        {
            var parts = Assert.IsType<StepParts>(point.Parts);
            Assert.All(parts.All(), part => Assert.True(part.Seconds >= 0, $"{part.Part} took {part.Seconds} s"));
            Assert.True(parts.Compute > 0 && parts.Communication > 0 && parts.Bubble > 0 && parts.Optimizer > 0);
            Assert.True(point.ModelFlopsUtilization > 0);
        });

        // The checkpoint after step 2 stops step 3; the others are not stopped.
        Assert.Equal([false, false, true, false, true], points.Select(point => point.Parts?.Checkpoint > 0));
        var measured = Assert.IsType<RunMeasurement>(points[^1].Measurement);
        Assert.Equal(4, measured.Steps);
        Assert.Equal(points.Skip(1).Average(point => point.StepSeconds), measured.StepSeconds, 6);
        Assert.Equal(points.Skip(1).Average(point => point.Parts?.Bubble ?? 0), measured.Parts?.Bubble ?? 0, 6);
        Assert.Equal(8, measured.ResidentBytes.Count);
        Assert.True(measured.PeakFlops > 0 && measured.CommunicationBytesPerStep > 0);
    }

    [Fact]
    public void Leaves_a_timeline_of_every_rank()
    {
        using var directory = new TemporaryDirectory();
        Train(directory, out var spec);

        for (var rank = 0; rank < spec.Parallelism.WorldSize; rank++)
        {
            var events = File.ReadAllLines(Path.Combine(directory.Path, ArtifactLayout.Trace("jobs/tiny", 1, rank)))
                .Select(line => JsonNode.Parse(line) ?? throw new FormatException(line)).ToList();
            Assert.All(events, each => Assert.Equal(rank, each["pid"]?.GetValue<int>()));
            var complete = events.Where(each => each["ph"]?.GetValue<string>() == "X").ToList();
            var names = complete.Select(each => each["name"]?.GetValue<string>()).ToHashSet();
            Assert.Superset(new HashSet<string?> { "forward", "backward", "load", "update", "send", "recv" }, names);
            Assert.Contains(names, name => name?.StartsWith("all-reduce tensor group", StringComparison.Ordinal) == true);

            // Every micro-batch of the last step runs once forward and once backward.
            var last = complete.Where(each => each["args"]?["step"]?.GetValue<int>() == spec.Training.Steps).ToList();
            foreach (var pass in new[] { "forward", "backward" })
                Assert.Equal(
                    [0, 1], last.Where(each => each["name"]?.GetValue<string>() == pass).Select(each => each["args"]?["micro_batch"]?.GetValue<int>() ?? -1).Order());
        }
    }

    private static List<StepMetrics> Train(TemporaryDirectory directory, out TrainingJobSpec spec)
    {
        var data = Path.Combine(directory.Path, "text.txt");
        File.WriteAllText(data, Gang.SomeText(4000));
        spec = Gang.Job(data, tensor: 2, pipeline: 2, data_: 2, Precision.Float32, steps: 5) with { Checkpoint = new CheckpointSpec { EverySteps = 2 } };
        using var host = new RecordingHost();
        Gang.Run(spec, directory.Path, host);
        return [.. host.Points];
    }
}
