using System.Text.RegularExpressions;

namespace Platform.Deploy.Tests;

/// <summary>What an expression of the Prometheus query language asks for.</summary>
/// <param name="Metrics">Names of series, recorded ones included.</param>
/// <param name="Labels">Names of labels.</param>
internal sealed partial record PromQl(IReadOnlySet<string> Metrics, IReadOnlySet<string> Labels)
{
    private static readonly HashSet<string> Words = ["and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring", "group_left", "group_right", "inf", "nan"];

    /// <summary>Reads an expression. It need not be valid: that is promtool's to say.</summary>
    public static PromQl Read(string expression)
    {
        var labels = new HashSet<string>();
        string rest = Quoted().Replace(expression, "\"\"");
        rest = Selector().Replace(rest, match =>
        {
            labels.UnionWith(Matcher().Matches(match.Value).Select(matcher => matcher.Groups[1].Value));
            return " ";
        });
        rest = Grouping().Replace(rest, match =>
        {
            labels.UnionWith(match.Groups[1].Value.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries));
            return " ";
        });
        rest = Range().Replace(rest, " ");
        var metrics = Name().Matches(rest).Select(match => match.Value).Where(name => !Words.Contains(name.ToLowerInvariant())).ToHashSet();
        return new PromQl(metrics, labels);
    }

    [GeneratedRegex("""
        "(?:[^"\\]|\\.)*"
        """)]
    private static partial Regex Quoted();

    [GeneratedRegex(@"\{[^}]*\}")]
    private static partial Regex Selector();

    [GeneratedRegex(@"(\w+)\s*(?:=~|!~|!=|=)")]
    private static partial Regex Matcher();

    [GeneratedRegex(@"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")]
    private static partial Regex Grouping();

    [GeneratedRegex(@"\[[^\]]*\]|\boffset\s+\d\w*")]
    private static partial Regex Range();

    // A name that is not called as a function and does not end a number.
    [GeneratedRegex(@"(?<![\w.:])[A-Za-z_:][\w:]*\b(?!\s*\()")]
    private static partial Regex Name();
}
