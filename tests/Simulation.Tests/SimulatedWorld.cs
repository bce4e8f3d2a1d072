using Platform.Core.Gangs;

namespace Platform.Simulation.Tests;

/// <summary>How much goes wrong, each as a probability per occasion.</summary>
internal sealed record Faults
{
    public double Lose { get; init; } = 0.1;

    public double Duplicate { get; init; } = 0.1;

    /// <summary>Share of messages that take up to half a minute.</summary>
    public double Late { get; init; } = 0.03;

    public double SchedulerCrash { get; init; } = 0.01;

    /// <summary>Per second and node.</summary>
    public double AgentCrash { get; init; } = 0.005;

    public double Partition { get; init; } = 0.01;

    public double RankCrash { get; init; } = 0.01;

    public double PreflightFails { get; init; } = 0.1;

    public static Faults None { get; } = new()
    {
        Lose = 0,
        Duplicate = 0,
        Late = 0,
        SchedulerCrash = 0,
        AgentCrash = 0,
        Partition = 0,
        RankCrash = 0,
        PreflightFails = 0,
    };
}

/// <summary>A clock that jumps from event to event, chance from a seed, and a network that loses, repeats, delays and reorders.</summary>
internal sealed class SimulatedWorld(int seed, Faults faults)
{
    private readonly PriorityQueue<Action, (DateTimeOffset Time, long Order)> events = new();
    private readonly Random random = new(seed);
    private long order;

    public static DateTimeOffset Begin { get; } = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

    public int Seed => seed;

    public DateTimeOffset Now { get; private set; } = Begin;

    /// <summary>What may go wrong now; nothing any more once the world has calmed down.</summary>
    public Faults Faults { get; private set; } = faults;

    /// <summary>Events handled so far.</summary>
    public long Handled { get; private set; }

    /// <summary>Hash over what happened when, to compare two runs.</summary>
    public ulong Trace { get; private set; } = 14695981039346656037;

    public void CalmDown() => Faults = Faults.None;

    public bool Chance(double probability) => probability > 0 && random.NextDouble() < probability;

    public double Uniform(double from, double to) => from + ((to - from) * random.NextDouble());

    public int Pick(int count) => random.Next(count);

    public void After(double seconds, Action action) => events.Enqueue(action, (Now + TimeSpan.FromSeconds(seconds), order++));

    public void At(DateTimeOffset time, Action action) => events.Enqueue(action, (time < Now ? Now : time, order++));

    /// <summary>Carries a message: not at all, once or twice, after a time of its own.</summary>
    public void Carry(Action arrive)
    {
        if (Chance(Faults.Lose))
        {
            return;
        }

        After(Delay(), arrive);
        if (Chance(Faults.Duplicate))
        {
            After(Delay(), arrive);
        }
    }

    /// <summary>One way of a call: at most once.</summary>
    public void CarryCall(Action arrive)
    {
        if (!Chance(Faults.Lose))
        {
            After(Delay(), arrive);
        }
    }

    /// <summary>Handles the next event; false when there is none.</summary>
    public bool Step()
    {
        if (!events.TryDequeue(out var action, out var at))
        {
            return false;
        }

        Now = at.Time;
        Handled++;
        action();
        return true;
    }

    /// <summary>Adds something that happened to the trace.</summary>
    public void Record(string what)
    {
        foreach (char letter in what)
        {
            Trace = (Trace ^ letter) * 1099511628211;
        }

        Trace = (Trace ^ (ulong)Now.Ticks) * 1099511628211;
    }

    public void Violated(string rule) => throw new SimulationException($"seed {seed}, {(Now - Begin).TotalSeconds:0.000} s: {rule}");

    private double Delay() => Chance(Faults.Late) ? Uniform(0.5, 30) : Uniform(0.001, 0.05);
}

/// <summary>A rule was violated.</summary>
internal sealed class SimulationException(string message) : Exception(message);

/// <summary>A process of a rank on a node, as the machine sees it: the truth that all bookkeeping is about.</summary>
internal sealed class SimulatedProcess(string gang, int attempt, int worldSize, string node, RankPlacement placement, WorkloadKind kind)
{
    public string Gang => gang;

    public int Attempt => attempt;

    public int WorldSize => worldSize;

    public string Node => node;

    public RankPlacement Placement => placement;

    public WorkloadKind Kind => kind;

    public bool Alive { get; set; } = true;

    public bool AskedToStop { get; set; }
}
