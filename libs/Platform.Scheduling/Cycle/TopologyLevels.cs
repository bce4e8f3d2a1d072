namespace Platform.Scheduling.Cycle;

/// <summary>How near nodes are to each other.</summary>
internal static class TopologyLevels
{
    /// <summary>The narrowest level.</summary>
    public const string Node = "node";

    private static readonly string[] Levels = [Node, "block", "rack", "zone"];

    /// <summary>Levels above a node, narrow to wide.</summary>
    public static IReadOnlyList<string> Wider { get; } = Levels[1..];

    /// <summary>Place of a level in the order from narrow to wide.</summary>
    public static int Width(string level) => Array.IndexOf(Levels, level);

    /// <summary>Name of the node's domain of a level. A node without the label is a domain of its own.</summary>
    public static string DomainOf(NodeSnapshot node, string level) =>
        level != Node && node.Topology.TryGetValue(level, out string? domain) ? $"{level}/{domain}" : $"{Node}/{node.Name}";

    /// <summary>A key after which nodes that are near to each other stand beside each other.</summary>
    public static string OrderKey(NodeSnapshot node) =>
        $"{node.Topology.GetValueOrDefault("zone")}\n{node.Topology.GetValueOrDefault("rack")}\n{node.Topology.GetValueOrDefault("block")}\n{node.Name}";
}
