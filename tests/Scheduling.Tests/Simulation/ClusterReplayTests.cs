using System.Xml.Linq;
using Platform.Scheduling.Simulation;
using Xunit;

namespace Platform.Scheduling.Tests.Simulation;

/// <summary>Traces with arrivals and durations through the cycle over a virtual clock.</summary>
public sealed class ClusterReplayTests(ITestOutputHelper output)
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public void Two_gangs_that_do_not_fit_together_run_one_after_the_other_and_the_figures_say_so()
    {
        var result = Run(4, """{"gang":"a","submit_s":0,"duration_s":60,"data":3}""", """{"gang":"b","submit_s":10,"duration_s":30,"data":4}""", """{"gang":"c","submit_s":0,"duration_s":5,"data":5}""");

        Assert.Equal([("a", 0.0, 60.0), ("b", 60.0, 90.0)], result.Segments.Select(segment => (segment.Gang, segment.FromSeconds, segment.ToSeconds)));
        Assert.Equal(["c"], result.Infeasible);
        Assert.Equal([0.0, 50.0], result.Waits);
        Assert.Equal(((3 * 60) + (4 * 30)) / (4.0 * 90), result.Utilization, 1e-12);
        Assert.Equal((2, 0, 90.0), (result.Finished, result.Preemptions, result.EndSeconds));
    }

    [Fact]
    public void A_higher_priority_takes_the_devices_after_the_minimum_and_the_other_goes_on_where_it_stopped()
    {
        var result = Run(2, """{"gang":"low","submit_s":0,"duration_s":200,"data":2,"priority":1}""", """{"gang":"high","submit_s":20,"duration_s":30,"data":2,"priority":9}""");

        // Asked at 120 s, saved by 130; the other's 30 s; then the start and what was left of 200 s.
        Assert.Equal([("low", SegmentEnd.Preempted), ("high", SegmentEnd.Finished), ("low", SegmentEnd.Finished)], result.Segments.Select(segment => (segment.Gang, segment.End)));
        Assert.Equal([(0.0, 130.0), (130.0, 160.0), (160.0, 245.0)], result.Segments.Select(segment => (Math.Round(segment.FromSeconds, 2), Math.Round(segment.ToSeconds, 2))));
    }

    [Fact]
    public void An_elastic_gang_narrows_for_another_and_widens_again_when_it_has_ended()
    {
        var result = Run(4, """{"gang":"elastic","submit_s":0,"duration_s":2000,"data":4,"min_data":1}""", """{"gang":"other","submit_s":200,"duration_s":100,"data":2}""");

        Assert.Equal([("elastic", 4, SegmentEnd.Narrowed), ("elastic", 2, SegmentEnd.Widened), ("elastic", 4, SegmentEnd.Finished)],
            result.Segments.Where(segment => segment.Gang == "elastic").Select(segment => (segment.Gang, segment.Placement.Members.Sum(member => member.Ranks.Count), segment.End)));
        Assert.Equal((1, 1, 0, 2), (result.Narrowings, result.Widenings, result.Preemptions, result.Finished));
    }

    [Fact]
    public void A_trace_gives_the_same_decisions_each_time_and_no_device_is_held_twice()
    {
        var random = new SeededRandom(5);
        string[] lines = [.. Enumerable.Range(0, 60).Select(n => FormattableString.Invariant(
            $$"""{"gang":"g{{n}}","submit_s":{{n * 5}},"duration_s":{{20 + random.Below(400)}},"tensor":{{1 + random.Below(2)}},"data":{{1 << random.Below(3)}},"min_data":1,"priority":{{random.Below(3)}},"queue":"q{{random.Below(3)}}","device_milli":{{(random.Below(4) == 0 ? 500 : 1000)}}}"""))];

        var first = Run(32, lines);
        Assert.Equal(first.Segments, Run(32, lines).Segments, (a, b) => (a.Gang, a.FromSeconds, a.ToSeconds, a.End) == (b.Gang, b.FromSeconds, b.ToSeconds, b.End));
        Assert.Equal(60, first.Finished);
        Assert.True(first.Preemptions + first.Narrowings + first.Widenings > 0, first.ToJson().ToJsonString());
        foreach (var moment in first.Segments.Select(segment => segment.FromSeconds).Distinct())
        {
            var held = first.Segments.Where(segment => segment.FromSeconds <= moment && moment < segment.ToSeconds)
                .SelectMany(segment => segment.Placement.Members.SelectMany(member => member.Ranks.SelectMany(rank => rank.Devices.Select(device => (member.Node, device, rank.DeviceMilli)))));
            Assert.All(held.GroupBy(share => (share.Node, share.device)), device => Assert.True(device.Sum(share => share.DeviceMilli) <= 1000, $"{device.Key} at {moment}"));
        }
    }

    [Fact]
    public void The_picture_is_one_document_with_a_bar_for_each_time_a_gang_held_devices()
    {
        var trace = Trace(4, """{"gang":"a<b>","submit_s":0,"duration_s":60,"data":3}""", """{"gang":"b","submit_s":10,"duration_s":30,"data":4}""");
        var result = ClusterReplay.Run(trace, new ReplayOptions(), Cancellation);

        string svg = ReplayTimeline.Svg(trace, result), html = ReplayTimeline.Html(trace, result, "a & b");

        var document = XDocument.Parse(svg);
        XNamespace space = "http://www.w3.org/2000/svg";
        Assert.Equal(2, document.Descendants(space + "rect").Count(bar => bar.Attribute("class")?.Value == "b"));
        Assert.Contains(document.Descendants(space + "title"), title => title.Value == "a<b> (default), 3 ranks, 0 s to 60 s");
        Assert.Contains("prefers-color-scheme: dark", svg, StringComparison.Ordinal);
        Assert.DoesNotContain("href", html, StringComparison.Ordinal);
        Assert.Contains("<title>a &amp; b</title>", html, StringComparison.Ordinal);
        Assert.Contains(svg.TrimEnd(), html, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"gang":"a","duration_s":"long"}""", "Line 1 of the trace is no gang")]
    [InlineData("""{"gang":"a"}""", "duration_s is missing")]
    [InlineData("name,creation_time\na,1", "lacks num_gpu")]
    public void A_line_that_cannot_be_read_is_named(string text, string why) =>
        Assert.Contains(why, Assert.Throws<TraceFormatException>(() => ReplayTrace.ReadGangs(text.Split('\n'))).Message, StringComparison.Ordinal);

    [Fact]
    public void Reads_a_public_trace_by_its_times()
    {
        var gangs = ReplayTrace.ReadGangs(["name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time",
            "p1,1000,1024,2,1000,,LS,Succeeded,100,400,150", "p2,1000,1024,1,460,T4,LS,Running,90,200,", "p3,1000,1024,0,0,,LS,Running,0,10,0"]);

        Assert.Equal([("p2", 0.0, 110.0, 1, 460), ("p1", 10.0, 250.0, 2, 1000)],
            gangs.Select(gang => (gang.Gang, gang.ArrivesSeconds, gang.RunsSeconds, gang.Shape.DeviceSlots, gang.Shape.DeviceMilli)));
    }

    private static ReplayTrace Trace(int devices, params string[] lines) =>
        new(ReplayTrace.NodesOf($"{Math.Max(1, devices / 8)}x{Math.Min(8, devices)}", "cuda") ?? throw new InvalidOperationException("No nodes."), ReplayTrace.ReadGangs(lines));

    private ReplayResult Run(int devices, params string[] lines)
    {
        var result = ClusterReplay.Run(Trace(devices, lines), new ReplayOptions(), Cancellation);
        output.WriteLine(result.ToJson().ToJsonString());
        return result;
    }
}
