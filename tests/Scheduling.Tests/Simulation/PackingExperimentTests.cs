using Platform.Scheduling.Placement;
using Platform.Scheduling.Simulation;
using Xunit;

namespace Platform.Scheduling.Tests.Simulation;

public sealed class PackingExperimentTests
{
    /// <summary>Published means of ten seeds, and how far three seeds of ours may be from them.</summary>
    [Theory]
    [InlineData("default", PlacementPolicies.Random, 87.47, 1)]
    [InlineData("default", PlacementPolicies.BestFit, 93.08, 1)]
    [InlineData("default", PlacementPolicies.Fgd, 95.39, 0.25)]
    [InlineData("gpushare100", PlacementPolicies.Random, 79.44, 1)]
    [InlineData("gpushare100", PlacementPolicies.BestFit, 85.01, 1)]
    [InlineData("gpushare100", PlacementPolicies.Fgd, 86.90, 0.25)]
    public void Comes_to_the_published_figures_on_the_open_trace(string list, string policy, double published, double tolerance) =>
        Assert.Equal(published, Mean(list, policy, 42, 43, 44), tolerance);

    [Theory]
    [InlineData("default", 0.4)]
    [InlineData("gpushare100", 1.2)]
    public void Foresight_fills_the_cluster_further_than_fragmentation_gradient_descent(string list, double atLeast)
    {
        double gained = Mean(list, PlacementPolicies.Foresight, 142, 143) - Mean(list, PlacementPolicies.Fgd, 142, 143);

        Assert.True(gained >= atLeast, $"Expected at least {atLeast} points more than FGD, found {gained:0.00}.");
    }

    [Fact]
    public void The_same_seed_gives_the_same_result_and_another_one_another()
    {
        var trace = ClusterTrace.Read(
            ["sn,cpu_milli,memory_mib,gpu,model", "a,32000,65536,4,T4", "b,64000,65536,8,G2"],
            ["name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec", .. Enumerable.Range(0, 40).Select(n => $"t{n},{1000 + (n * 100)},512,1,{100 + (n * 20)},")]);

        var runs = new[] { 7, 7, 8 }.Select(seed => PackingExperiment.Run(trace, PlacementPolicies.Foresight, 1.5, seed)).ToList();

        Assert.Equal(runs[0], runs[1]);
        Assert.NotEqual(runs[0] with { Seed = 8 }, runs[2]);
        Assert.All(runs, run => Assert.InRange(run.AllocatedPercent, 50, 100));
    }

    [Fact]
    public void A_task_goes_only_to_a_device_model_that_it_accepts()
    {
        var trace = ClusterTrace.Read(
            ["sn,cpu_milli,memory_mib,gpu,model", "a,32000,65536,4,T4"],
            ["name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec", "one,1000,1,1,1000,G2|V100", "two,1000,1,1,1000,G2|T4"]);

        foreach (string policy in PlacementPolicies.Names)
        {
            var run = PackingExperiment.Run(trace, policy, 0.1, 1);
            Assert.Equal((1, 1), (run.Placed, run.Dropped));
        }
    }

    [Theory]
    [InlineData("name,cpu_milli,memory_mib,num_gpu,gpu_milli", "lacks gpu_spec")]
    [InlineData("name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\nt,many,1,1,1000,", "cpu_milli in line 2 of the tasks, found 'many'")]
    [InlineData("name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\nt,1,1", "has 3 columns, the header 6")]
    public void Says_what_is_wrong_with_a_trace(string tasks, string expected)
    {
        var error = Assert.Throws<TraceFormatException>(() => ClusterTrace.Read(["sn,cpu_milli,memory_mib,gpu,model"], tasks.Split('\n')));

        Assert.Contains(expected, error.Message, StringComparison.Ordinal);
    }

    private static double Mean(string list, string policy, params int[] seeds)
    {
        Assert.SkipUnless(OpenTrace.Directory is not null, OpenTrace.Absent);
        var trace = OpenTrace.Read(OpenTrace.Directory ?? "", list);
        return seeds.AsParallel().Average(seed => PackingExperiment.Run(trace, policy, 1.3, seed).AllocatedPercent);
    }
}
