using Platform.Core.Gangs;
using Platform.Scheduling.Control;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Gangs;
using Xunit;

namespace Platform.Scheduling.Tests.Control;

public sealed class RuntimeForecastTests
{
    private const string Work = """{"model":{"hidden_size":8},"parallelism":{"data":1},"training":{"steps":STEPS,"global_batch_size":8},"data":{"sequence_length":32}}""";

    [Fact]
    public void What_was_declared_stands_then_own_steps_then_others_of_the_same_work_then_the_plan()
    {
        var forecast = new RuntimeForecast();
        Assert.Null(forecast.RuntimeOf(Job("jobs/unknown", 100)));
        var planned = Job("jobs/a", 100) with { PredictedRuntime = TimeSpan.FromSeconds(40) };
        Assert.Equal(60, forecast.RuntimeOf(planned)?.TotalSeconds);
        Assert.Equal(7, forecast.RuntimeOf(planned with { ExpectedRuntime = TimeSpan.FromSeconds(7) })?.TotalSeconds);

        // Another of the same work ends after steps of two seconds: twice the steps, twice the time, and a fifth more.
        forecast.Note("jobs/b", 1, 50, 2, Given.Noon);
        forecast.Ended(Job("jobs/b", 50) with { Stage = GangStage.Succeeded, EndedAt = Given.Noon });
        Assert.Equal(240, forecast.RuntimeOf(planned)?.TotalSeconds ?? 0, 1e-6);
        Assert.Equal(144, forecast.RuntimeOf(planned with { Checkpoints = [new CommittedCheckpoint(1, 40, "d", "h", Given.Noon, [])] })?.TotalSeconds ?? 0, 1e-6);
        Assert.Equal(60, forecast.RuntimeOf(planned with { Shape = Given.Shape(data: 2) })?.TotalSeconds);

        forecast.Note("jobs/a", 1, 10, 0.5, Given.Noon);
        Assert.Equal(60, forecast.RuntimeOf(planned)?.TotalSeconds ?? 0, 1e-6);
        forecast.Note("jobs/a", 1, 11, double.NaN, Given.Noon);
        Assert.Equal(60, forecast.RuntimeOf(planned)?.TotalSeconds ?? 0, 1e-6);
    }

    [Fact]
    public void A_program_is_expected_to_run_as_long_as_it_did_before()
    {
        var forecast = new RuntimeForecast();
        var program = Given.Gang("jobs/p", Given.Shape(), WorkloadKind.Command) with { Workload = """{"command":["train.py"]}""" };
        forecast.Ended(program with { Stage = GangStage.Succeeded, EndedAt = Given.Noon.AddSeconds(100), Attempt = Attempt() });

        Assert.Equal(120, forecast.RuntimeOf(program with { Gang = "jobs/q" })?.TotalSeconds ?? 0, 1e-6);
        Assert.Null(forecast.RuntimeOf(program with { Gang = "jobs/r", Workload = """{"command":["other.py"]}""" }));
        Assert.Null(forecast.RuntimeOf(program with { Kind = WorkloadKind.Serving }));
    }

    [Fact]
    public void Steps_tell_when_a_running_gang_ends_and_so_when_the_next_one_starts()
    {
        var options = new ControlOptions();
        var now = Given.Noon;
        var plane = new ControlPlane(new ControlRecord([], [], [], []), options, 1, () => "token", _ => null, now);
        plane.Renew("n0", "a", "", Given.Inventory("n0", 4), [], now);
        plane.Submit(Job("jobs/a", 100) with { Shape = Given.Shape(data: 4) });
        plane.Settle(now);
        foreach (var phase in new[] { MemberPhase.Prepared, MemberPhase.Running })
        {
            plane.Report(Given.Report(plane.Find("jobs/a")!, "n0", phase), now);
        }

        plane.Submit(Job("jobs/b", 100) with { Shape = Given.Shape(data: 4), SubmittedAt = now.AddSeconds(1) });
        plane.Tick(now);
        Assert.Null(plane.Deferrals["jobs/b"].EstimatedStart);
        plane.NoteStep("jobs/a", 1, 40, 0.1, now);
        plane.Tick(now);

        Assert.Equal(now.AddSeconds(6), plane.Deferrals["jobs/b"].EstimatedStart);
        var why = Explanation.Of("jobs/b", plane.Input(now), plane.Deferrals["jobs/b"], [], now);
        Assert.Equal((now.AddSeconds(6), EstimateBasis.Reservation), (why?.EstimatedStart, why?.Basis));
    }

    private static AttemptState Attempt() => new() { Number = 1, Token = "t", Members = [], PlacedAt = Given.Noon, RunningAt = Given.Noon };

    private static GangState Job(string gang, int steps) => Given.Gang(gang, Given.Shape()) with { Workload = Work.Replace("STEPS", $"{steps}", StringComparison.Ordinal) };
}
