namespace Platform.Scheduling.Queues;

/// <summary>What a tenant queue may use. Kinds of device that no queue of its tree names are not limited.</summary>
public sealed record QueueSpec
{
    /// <summary>Name.</summary>
    public required string Name { get; init; }

    /// <summary>Queue whose unused quota it may borrow; null for the root of a tree.</summary>
    public string? Parent { get; init; }

    /// <summary>Devices by kind that are its own.</summary>
    public IReadOnlyDictionary<string, int> Nominal { get; init; } = new Dictionary<string, int>();

    /// <summary>Devices by kind that it may use beyond its own, of what its tree leaves unused; no entry for all of it.</summary>
    public IReadOnlyDictionary<string, int> BorrowingLimit { get; init; } = new Dictionary<string, int>();

    /// <summary>Devices by kind of its own that others may use while it does not; no entry for all of them.</summary>
    public IReadOnlyDictionary<string, int> LendingLimit { get; init; } = new Dictionary<string, int>();

    /// <summary>Its claim relative to other queues, above 0.</summary>
    public double Weight { get; init; } = 1;

    /// <summary>What its gangs and those of the queues below it may use up; null for no bound.</summary>
    public QueueBudget? Budget { get; init; }

    /// <summary>Everything wrong with a set of queues: unknown parents, circles, negative figures.</summary>
    public static IReadOnlyList<string> Check(IReadOnlyList<QueueSpec> queues)
    {
        var byName = queues.ToDictionary(queue => queue.Name);
        var wrong = new List<string>();
        foreach (var queue in queues)
        {
            if (!(queue.Weight > 0))
            {
                wrong.Add($"{queue.Name}: expected a weight above 0, found {queue.Weight}.");
            }

            wrong.AddRange(queue.Nominal.Concat(queue.BorrowingLimit).Concat(queue.LendingLimit).Where(entry => entry.Value < 0)
                .Select(entry => $"{queue.Name}: expected 0 or more {entry.Key} devices, found {entry.Value}."));
            wrong.AddRange(new[] { ("device-hours", queue.Budget?.DeviceHours), ("money", queue.Budget?.Money) }.Where(bound => bound.Item2 is { } value && !(value >= 0 && double.IsFinite(value)))
                .Select(bound => FormattableString.Invariant($"{queue.Name}: expected a budget of 0 or more {bound.Item1}, found {bound.Item2}.")));
            var seen = new HashSet<string>();
            for (var at = queue; at.Parent is { } parent; at = byName[parent])
            {
                if (!byName.ContainsKey(parent))
                {
                    wrong.Add($"{queue.Name}: its parent {parent} does not exist.");
                    break;
                }

                if (!seen.Add(at.Name))
                {
                    wrong.Add($"{queue.Name}: it is its own ancestor.");
                    break;
                }
            }
        }

        return wrong;
    }
}
