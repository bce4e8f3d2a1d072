using Platform.Core.Deployments;
using Platform.Core.Gangs;
using Platform.Core.Parallelism;
using Platform.Scheduling.Control;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Deployments;
using Platform.Scheduling.Gangs;

namespace Platform.Simulation.Tests;

/// <summary>What a run came to.</summary>
internal sealed record SimulationResult(ulong Trace, long Events, int Succeeded, int Restarts, int SchedulerCrashes, int AgentCrashes, int Processes);

/// <summary>
/// A cluster under faults: the real control plane and the real agent machines over a simulated clock, network and processes.
/// For two minutes anything may go wrong; then nothing does, and everything that was accepted has to come to its end.
/// </summary>
internal static class Simulation
{
    private const double StormSeconds = 120;
    private const double CalmSeconds = 600;
    private const int Jobs = 6;

    private static readonly ControlOptions Options = new()
    {
        Lease = TimeSpan.FromSeconds(3),
        LeaseSkew = TimeSpan.FromSeconds(3),
        Gangs = new GangTimeouts
        {
            Prepare = TimeSpan.FromSeconds(8),
            Start = TimeSpan.FromSeconds(10),
            Finish = TimeSpan.FromSeconds(20),
            StopGrace = TimeSpan.FromSeconds(3),
            CheckpointGrace = TimeSpan.FromSeconds(4),
            BackoffBase = TimeSpan.FromSeconds(0.5),
            BackoffLimit = TimeSpan.FromSeconds(5),
            MaxUnstartedAttempts = 1000,
        },
    };

    // Start, the tick after it, a lease until the nodes know, their grace and the kill.
    private static readonly TimeSpan PartialGrace = TimeSpan.FromSeconds(30);

    public static SimulationResult Run(int seed, Faults faults)
    {
        var world = new SimulatedWorld(seed, faults);
        var machines = new Dictionary<string, SimulatedNode>();
        var scheduler = new SimulatedScheduler(world, Options, assignment => world.Carry(() => machines[assignment.Node].Deliver(assignment)));
        var processes = new SimulatedProcesses(world, PartialGrace);
        for (int n = 0; n < 3; n++)
        {
            machines[$"n{n}"] = new SimulatedNode(world, scheduler, processes, Options, $"n{n}", 2 + (n % 2 * 2));
        }

        scheduler.Start();
        foreach (var machine in machines.Values)
        {
            machine.Start();
        }

        Watch(world, processes);
        var submitted = Submit(world, scheduler);
        world.After(StormSeconds, world.CalmDown);
        world.After(StormSeconds, () => Retry(world, scheduler, () => !scheduler.HasDeployments, plane =>
        {
            if (plane.FindDeployment("default/lm") is { } deployment)
            {
                plane.PutDeployment(deployment with { Deleting = true });
            }
        }));
        var end = SimulatedWorld.Begin + TimeSpan.FromSeconds(StormSeconds + CalmSeconds);
        while (!IsOver())
        {
            if (!world.Step() || world.Now > end)
            {
                world.Violated($"It did not come to its end: {processes.LiveCount} processes live; {string.Join("; ", scheduler.Gangs.Values.Where(gang => !gang.IsTerminal).Select(gang => $"{gang.Gang} {gang.Stage} {gang.StageReason}"))}");
            }
        }

        return new SimulationResult(
            world.Trace, world.Handled, scheduler.Gangs.Values.Count(gang => gang.Stage == GangStage.Succeeded), scheduler.Gangs.Values.Sum(gang => gang.Restarts),
            scheduler.Crashes, machines.Values.Sum(machine => machine.Crashes), processes.Started);

        bool IsOver() => world.Now - SimulatedWorld.Begin > TimeSpan.FromSeconds(StormSeconds + 1)
            && submitted.All(scheduler.Gangs.ContainsKey) && !scheduler.HasDeployments && processes.LiveCount == 0
            && scheduler.Gangs.Values.All(gang => gang.IsTerminal);
    }

    private static void Watch(SimulatedWorld world, SimulatedProcesses processes) => world.After(1, () =>
    {
        processes.CheckPartialGangs();
        Watch(world, processes);
    });

    private static List<string> Submit(SimulatedWorld world, SimulatedScheduler scheduler)
    {
        var names = new List<string>();
        for (int n = 0; n < Jobs; n++)
        {
            string gang = $"jobs/j{n}";
            names.Add(gang);
            var shape = new GangShape
            {
                Mesh = new DeviceMesh(1 + world.Pick(2), 1 + world.Pick(2), 1 + world.Pick(2)),
                DeviceKind = "cpu",
                DeviceMilli = world.Chance(0.3) ? 500 : 1000,
            };
            int priority = world.Pick(3);
            world.After(world.Uniform(0, 60), () => Retry(world, scheduler, () => scheduler.Gangs.ContainsKey(gang), plane =>
            {
                if (plane.Find(gang) is null)
                {
                    plane.Submit(Gang(gang, shape, priority, world.Now));
                }
            }));
            if (world.Chance(0.15))
            {
                world.After(world.Uniform(20, 110), () => scheduler.Do((plane, _) => plane.Apply(gang, new GangEvent.CancelRequested(), world.Now), _ => { }));
            }
            else if (world.Chance(0.2))
            {
                double at = world.Uniform(20, 60);
                world.After(at, () => scheduler.Do((plane, _) => plane.Apply(gang, new GangEvent.PauseRequested(), world.Now), _ => { }));
                world.After(at + world.Uniform(0.1, 30), () => Retry(
                    world, scheduler, () => scheduler.Gangs.GetValueOrDefault(gang) is { Stage: not GangStage.Paused, Attempt.Outcome: not StopOutcome.Pause },
                    plane => plane.Apply(gang, new GangEvent.ResumeRequested(), world.Now)));
            }
        }

        world.After(world.Uniform(0, 30), () => Retry(world, scheduler, () => scheduler.HasDeployments, plane => plane.PutDeployment(new DeploymentState
        {
            Id = "lm",
            Project = "default",
            Uid = "abcdef0",
            Spec = new DeploymentSpec { Model = "lm", Scaling = new ScalingOptions { DeviceMilli = 400 } },
            ModelVersion = 1,
            ModelDirectory = "models/lm/1",
            DesiredReplicas = 2,
            CreatedAt = world.Now,
        })));
        return names;
    }

    /// <summary>A client that asks until it has its answer.</summary>
    private static void Retry(SimulatedWorld world, SimulatedScheduler scheduler, Func<bool> done, Action<ControlPlane> work)
    {
        if (done())
        {
            return;
        }

        scheduler.Do((plane, _) =>
        {
            work(plane);
            return true;
        }, _ => { });
        world.After(1, () => Retry(world, scheduler, done, work));
    }

    private static GangState Gang(string gang, GangShape shape, int priority, DateTimeOffset now) => new()
    {
        Gang = gang,
        Project = "default",
        Kind = WorkloadKind.Training,
        Workload = "{}",
        Shape = shape,
        Priority = priority,
        MaxRestarts = 1000,
        SubmittedAt = now,
        StageSince = now,
    };
}
