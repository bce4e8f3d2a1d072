using System.Globalization;
using Xunit;

namespace Platform.Simulation.Tests;

/// <summary>
/// The scheduler and the agents under a network that loses, repeats, delays and reorders, and under crashes between any two
/// steps. <c>PLATFORM_SIM_SEEDS</c> sets how many seeds are tried, <c>PLATFORM_SIM_FIRST</c> the first of them. A seed that
/// ever failed is kept below by its number.
/// </summary>
public sealed class SimulationTests(ITestOutputHelper output)
{
    private const int DefaultSeeds = 300;

    [Fact]
    public void No_fault_leaves_a_device_in_two_gangs_or_a_partial_gang_and_all_jobs_end()
    {
        int seeds = Number("PLATFORM_SIM_SEEDS", DefaultSeeds), first = Number("PLATFORM_SIM_FIRST", 1);
        long events = 0;
        int restarts = 0, crashes = 0, agentCrashes = 0, succeeded = 0, processes = 0;
        for (int seed = first; seed < first + seeds; seed++)
        {
            var result = Simulation.Run(seed, new Faults());
            events += result.Events;
            restarts += result.Restarts;
            crashes += result.SchedulerCrashes;
            agentCrashes += result.AgentCrashes;
            succeeded += result.Succeeded;
            processes += result.Processes;
        }

        output.WriteLine($"{seeds} seeds: {events} events, {processes} processes, {succeeded} jobs succeeded, {restarts} restarts, {crashes} scheduler crashes, {agentCrashes} agent crashes");
        Assert.True(succeeded > seeds && restarts > seeds && crashes > seeds / 2 && agentCrashes > seeds / 2, "the storm was no storm");
    }

    [Fact]
    public void Without_faults_every_job_succeeds_at_the_first_attempt()
    {
        for (int seed = 1; seed <= 20; seed++)
        {
            Assert.Equal(0, Simulation.Run(seed, Faults.None).Restarts);
        }
    }

    [Fact]
    public void The_same_seed_gives_the_same_trace()
    {
        var first = Simulation.Run(7, new Faults());
        Assert.Equal(first, Simulation.Run(7, new Faults()));
        Assert.NotEqual(first.Trace, Simulation.Run(8, new Faults()).Trace);
    }

    [Fact]
    public void Loses_every_other_message_and_still_comes_to_its_end()
    {
        for (int seed = 1; seed <= 20; seed++)
        {
            Simulation.Run(seed, new Faults { Lose = 0.5, Duplicate = 0.5, Late = 0.2 });
        }
    }

    /// <summary>Seed 6: a scheduler that had just taken over answered calls before it had looked at deadlines that passed while nobody led.</summary>
    [Fact]
    public void Seed_6_looks_at_overdue_deadlines_before_anything_new() => Simulation.Run(6, new Faults { Lose = 0.5, Duplicate = 0.5, Late = 0.2 });

    private static int Number(string variable, int otherwise) =>
        int.TryParse(Environment.GetEnvironmentVariable(variable), NumberStyles.None, CultureInfo.InvariantCulture, out int value) ? value : otherwise;
}
