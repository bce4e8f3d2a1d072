namespace Platform.Scheduling.Placement;

/// <summary>Policies by name.</summary>
public static class PlacementPolicies
{
    /// <summary>Fragmentation gradient descent.</summary>
    public const string Fgd = "fgd";

    /// <summary>Least left over.</summary>
    public const string BestFit = "best-fit";

    /// <summary>Anywhere.</summary>
    public const string Random = "random";

    /// <summary>Least loss expected by the time the node is full.</summary>
    public const string Foresight = "foresight";

    /// <summary>Names that <see cref="Create"/> knows.</summary>
    public static IReadOnlyList<string> Names { get; } = [Foresight, Fgd, BestFit, Random];

    /// <summary>Makes a policy for a cluster.</summary>
    /// <param name="name">One of <see cref="Names"/>.</param>
    /// <param name="nodes">The cluster.</param>
    /// <param name="mix">What is usually asked for.</param>
    /// <exception cref="ArgumentOutOfRangeException">The name is not known.</exception>
    public static PlacementPolicy Create(string name, IReadOnlyList<NodeLedger> nodes, WorkloadMix mix) => name switch
    {
        Foresight => new ForesightPolicy(mix),
        Fgd => new FragmentationPolicy(mix),
        BestFit => new BestFitPolicy(nodes),
        Random => new RandomPolicy(),
        _ => throw new ArgumentOutOfRangeException(nameof(name), name, $"Expected one of {string.Join(", ", Names)}."),
    };
}
