using Platform.Scheduling.Capacity;
using Xunit;

namespace Platform.Scheduling.Tests.Capacity;

/// <summary>Providers that are slow, refuse, or give fewer nodes, while gangs come, go and are cancelled. The world checks each step.</summary>
public sealed class CapacityRandomTests
{
    [Fact]
    public void Never_asks_for_more_than_gangs_need_and_groups_may_have_whatever_providers_do()
    {
        int seed = Random.Shared.Next();
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}");
        for (int round = 0; round < 40; round++)
        {
            Run(new Random(seed + round));
        }
    }

    private static void Run(Random random)
    {
        NodeGroup Group(string name, int devices) => new()
        {
            Name = name,
            Provider = "test",
            MinNodes = random.Next(0, 2),
            MaxNodes = random.Next(1, 6),
            Devices = devices,
            MemoryBytes = 64L << 30,
            DeviceMemoryBytes = 16L << 30,
        };
        var options = new CapacityOptions
        {
            Groups = [Group("small", 2), Group("large", 8)],
            AskLease = TimeSpan.FromSeconds(random.Next(5, 40)),
            IdleDelay = TimeSpan.FromSeconds(random.Next(1, 60)),
            BackoffBase = TimeSpan.FromSeconds(random.Next(1, 10)),
            BackoffLimit = TimeSpan.FromSeconds(60),
            ConsolidationDelay = TimeSpan.FromSeconds(random.Next(1, 60)),
        };
        double refusing = random.NextDouble(), never = random.NextDouble() * 0.5, slowness = random.Next(1, 60);
        var world = new CapacityWorld(options)
        {
            Movable = random.Next(2) == 0,
            Refuses = _ => random.NextDouble() < refusing,
            JoinsAfter = _ => random.NextDouble() < never ? null : random.NextDouble() * slowness,
        };
        int submitted = 0;
        for (int second = 0; second < 300; second++)
        {
            if (random.Next(6) == 0)
            {
                string gang = $"jobs/{submitted++}";
                world.Submit(gang, Given.Shape(data: random.Next(1, 24)) with { Cluster = random.Next(5) == 0 ? gang : null });
            }

            var all = world.Waiting.Concat(world.Running).ToList();
            if (all.Count > 0 && random.Next(6) == 0)
            {
                world.End(all[random.Next(all.Count)]);
            }

            world.Step();
        }

        // A provider that works again serves what still waits and can be held; then everything that is not kept anyway goes.
        world.Refuses = _ => false;
        world.JoinsAfter = _ => 1;
        foreach (string gang in world.Running)
        {
            world.End(gang);
        }

        for (int second = 0; second < 3000 && world.Waiting.Count + world.Running.Count > 0; second++)
        {
            world.Step();
            foreach (string gang in world.Running.ToList())
            {
                world.End(gang);
            }

            foreach (string gang in world.Waiting.Where(gang => second > 1500))
            {
                // What no group alone can add enough nodes for may wait for ever; it is refused at submission or takes other nodes.
                world.End(gang);
            }
        }

        world.Step(400);
        Assert.Equal(options.Groups.Sum(group => group.MinNodes), world.Existing.Count);
    }
}
