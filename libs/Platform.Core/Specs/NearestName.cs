namespace Platform.Core.Specs;

/// <summary>Finds what someone who mistyped a name most likely meant.</summary>
public static class NearestName
{
    /// <summary>
    /// The candidate with the fewest edits (insert, delete, replace, swap neighbours) from a name, the first of equals;
    /// letter case, <c>_</c> and <c>-</c> do not count. Null when there are no candidates.
    /// </summary>
    public static string? Of(string name, IEnumerable<string> candidates) =>
        candidates.MinBy(candidate => Distance(name, candidate));

    /// <summary>Whether a name is close enough to another to be a slip of the fingers.</summary>
    public static bool IsClose(string name, string candidate) =>
        Distance(name, candidate) <= Math.Max(1, Math.Max(name.Length, candidate.Length) / 3);

    /// <summary>Optimal string alignment distance of the normalised names.</summary>
    internal static int Distance(string left, string right)
    {
        string a = Normalise(left), b = Normalise(right);
        var cost = new int[a.Length + 1, b.Length + 1];
        for (var i = 0; i <= a.Length; i++)
            cost[i, 0] = i;
        for (var j = 0; j <= b.Length; j++)
            cost[0, j] = j;
        for (var i = 1; i <= a.Length; i++)
        {
            for (var j = 1; j <= b.Length; j++)
            {
                var replaced = cost[i - 1, j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
                cost[i, j] = Math.Min(replaced, Math.Min(cost[i - 1, j], cost[i, j - 1]) + 1);
                if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                    cost[i, j] = Math.Min(cost[i, j], cost[i - 2, j - 2] + 1);
            }
        }

        return cost[a.Length, b.Length];
    }

    private static string Normalise(string name) =>
        name.Replace("_", "", StringComparison.Ordinal).Replace("-", "", StringComparison.Ordinal).ToUpperInvariant();
}
