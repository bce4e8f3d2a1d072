using System.Text.RegularExpressions;

namespace Platform.Deploy.Tests;

/// <summary>A configuration key: a property of an options class.</summary>
/// <param name="Key">Path, such as <c>Bus:RabbitMq:Host</c>.</param>
/// <param name="Type">Type as written.</param>
/// <param name="Default">Initialiser as written; empty when there is none.</param>
internal sealed record OptionKey(string Key, string Type, string Default)
{
    /// <summary>Whether values stand below it, by index or name.</summary>
    public bool IsCollection => Type.EndsWith("[]", StringComparison.Ordinal) || Type.StartsWith("Dictionary<", StringComparison.Ordinal);
}

/// <summary>The configuration keys that the services read, from the sources of their options classes.</summary>
internal static partial class OptionKeys
{
    private static readonly IReadOnlyDictionary<string, string> Classes = ReadClasses();

    /// <summary>Keys of options classes.</summary>
    public static IReadOnlyDictionary<string, OptionKey> All { get; } =
        Sections().Distinct().SelectMany(section => Expand(section.Section, section.Class)).ToDictionary(option => option.Key);

    /// <summary>Keys that are read one by one.</summary>
    public static IReadOnlySet<string> Single { get; } =
        Repository.Sources.Values.SelectMany(source => SingleKey().Matches(source)).Select(match => match.Groups[1].Value).ToHashSet();

    /// <summary>Whether a service reads the key.</summary>
    public static bool Knows(string key) =>
        All.ContainsKey(key) || Single.Contains(key)
        || (key.LastIndexOf(':') is > 0 and var colon && All.TryGetValue(key[..colon], out var collection) && collection.IsCollection);

    private static Dictionary<string, string> ReadClasses()
    {
        var classes = new Dictionary<string, string>();
        foreach (var source in Repository.Sources.Values)
        {
            foreach (Match match in ClassHead().Matches(source))
                classes.TryAdd(match.Groups[1].Value, Body(source, match.Index + match.Length));
        }
        return classes;
    }

    private static string Body(string source, int start)
    {
        int depth = 1, end = start;
        for (; depth > 0 && end < source.Length; end++)
            depth += source[end] switch { '{' => 1, '}' => -1, _ => 0 };
        return source[start..end];
    }

    private static IEnumerable<(string Section, string Class)> Sections() =>
        from source in Repository.Sources.Values
        from Match match in SectionUse().Matches(source)
        let type = match.Groups["class"].Value
        where Classes.ContainsKey(type)
        let section = match.Groups["section"] is { Success: true } literal ? literal.Value : SectionConstant().Match(Classes[type]).Groups[1].Value
        select (section, type);

    private static IEnumerable<OptionKey> Expand(string path, string type) =>
        from Match match in Property().Matches(Classes[type])
        let option = new OptionKey($"{path}:{match.Groups["name"].Value}", match.Groups["type"].Value, match.Groups["default"].Value)
        from each in Classes.ContainsKey(option.Type) ? Expand(option.Key, option.Type) : [option]
        select each;

    [GeneratedRegex(@"class (\w+Options)\b[^{;]*\{")]
    private static partial Regex ClassHead();

    [GeneratedRegex("""(?:AddPlatformOptions|PlatformOptions\.Read)<(?<class>\w+)>\((?:\w+, )?(?:"(?<section>\w+)"|\w+\.Section)""")]
    private static partial Regex SectionUse();

    [GeneratedRegex("""const string Section = "(\w+)(?=")""")]
    private static partial Regex SectionConstant();

    [GeneratedRegex(@"public (?<type>[\w<>\[\], ?]+) (?<name>\w+) \{ get; (?:set; )?\}(?: = (?<default>[^;]*);)?")]
    private static partial Regex Property();

    [GeneratedRegex("""[cC]onfiguration\??\["([\w:-]+)"\]""")]
    private static partial Regex SingleKey();
}
