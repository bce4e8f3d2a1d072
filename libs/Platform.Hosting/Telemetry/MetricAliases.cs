using System.Text;

namespace Platform.Hosting.Telemetry;

/// <summary>
/// Names under which families are exposed a second time, for dashboards that were written for another system. Needed where
/// that system's names have a colon, which prometheus-net refuses although the exposition format allows it.
/// </summary>
/// <param name="names">Second name of a family by its own name, as a <c># TYPE</c> line gives it in the text format.</param>
/// <param name="label">Label that each sample gets under its second name, as it is written: <c>engine="0"</c>.</param>
public sealed class MetricAliases(IReadOnlyDictionary<string, string> names, string label)
{
    private const string TotalSuffix = "_total";

    /// <summary>Repeats each family that has a second name directly after itself.</summary>
    /// <param name="exposition">Families in the text format or in that of OpenMetrics, one after another.</param>
    /// <returns>The same with the families' copies.</returns>
    public string Extend(string exposition)
    {
        ArgumentNullException.ThrowIfNull(exposition);
        var extended = new StringBuilder(exposition.Length * 2);
        var copy = new StringBuilder();
        var (family, alias) = ("", (string?)null);
        foreach (var line in exposition.AsSpan().EnumerateLines())
        {
            if (line.StartsWith("# HELP ") || line.StartsWith("# EOF"))
            {
                extended.Append(copy);
                copy.Clear();
                (family, alias) = FamilyOf(line);
            }

            if (line.IsEmpty)
                continue;
            extended.Append(line).Append('\n');
            if (alias is not null)
                AppendCopy(copy, line, family, alias);
        }

        return extended.Append(copy).ToString();
    }

    private (string Family, string? Alias) FamilyOf(ReadOnlySpan<char> help)
    {
        var words = help.ToString().Split(' ', 4);
        if (words.Length < 3)
            return ("", null);
        var family = words[2];
        // OpenMetrics names a counter's family without the suffix that its samples have.
        return names.TryGetValue(family, out var alias) ? (family, alias)
            : names.TryGetValue(family + TotalSuffix, out alias) ? (family, alias[..^TotalSuffix.Length])
            : (family, null);
    }

    private void AppendCopy(StringBuilder copy, ReadOnlySpan<char> line, string family, string alias)
    {
        var at = line.IndexOf(family, StringComparison.Ordinal);
        if (at < 0)
            return;
        copy.Append(line[..at]).Append(alias);
        var rest = line[(at + family.Length)..];
        if (line[0] == '#')
        {
            copy.Append(rest).Append('\n');
            return;
        }

        var brace = rest.IndexOf('{');
        if (brace < 0 || brace > rest.IndexOf(' '))
        {
            var value = rest.IndexOf(' ');
            copy.Append(rest[..value]).Append('{').Append(label).Append('}').Append(rest[value..]).Append('\n');
            return;
        }

        copy.Append(rest[..(brace + 1)]).Append(label).Append(',').Append(rest[(brace + 1)..]).Append('\n');
    }
}
