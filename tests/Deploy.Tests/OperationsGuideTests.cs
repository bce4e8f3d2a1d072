using System.Text.RegularExpressions;
using Xunit;

namespace Platform.Deploy.Tests;

/// <summary>docs/operations.md says what the code says.</summary>
public sealed partial class OperationsGuideTests
{
    private static readonly string Guide = Repository.Read("docs/operations.md");

    private static readonly IReadOnlyDictionary<string, string> Documented =
        Row().Matches(Guide).ToDictionary(match => match.Groups["key"].Value, match => match.Groups["default"].Value);

    [Fact]
    public void Every_option_of_a_service_is_documented() =>
        Expect.None(OptionKeys.All.Keys.Where(key => !Documented.ContainsKey(key)));

    [Fact]
    public void Every_documented_key_is_read_by_a_service() =>
        Expect.None(Documented.Keys.Where(key => !OptionKeys.Knows(key)));

    [Fact]
    public void Documented_defaults_are_those_of_the_options_classes() =>
        Expect.None(
            from option in OptionKeys.All.Values
            where Documented.ContainsKey(option.Key) && LiteralOf(option) is { } expected && Documented[option.Key] != expected
            select $"{option.Key}: the code says {LiteralOf(option)}, the guide {Documented[option.Key]}");

    [Fact]
    public void Every_make_target_and_file_that_it_names_exists()
    {
        var makefile = Repository.Read("Makefile");
        Expect.None(MakeTarget().Matches(Guide).Select(match => match.Groups[1].Value).Where(target => !Regex.IsMatch(makefile, $"^{target}:", RegexOptions.Multiline)));
        Expect.None(File().Matches(Guide).Select(match => match.Value).Where(path => !Path.Exists(Repository.At(path))));
    }

    // Null where the initialiser is no literal: the guide then says it in words.
    private static string? LiteralOf(OptionKey option) => option switch
    {
        { Default: "", Type: "bool" } => "`false`",
        { Default: "", Type: "int" or "long" or "double" } => "`0`",
        { Default: "\"\"" } => "–",
        _ when Literal().Match(option.Default) is { Success: true } match => $"`{match.Groups["value"].Value}`",
        _ => null,
    };

    [GeneratedRegex(@"^\| `(?<key>[A-Z]\w+(?::\w+)+)` \| (?<default>[^|]*?) \|", RegexOptions.Multiline)]
    private static partial Regex Row();

    [GeneratedRegex("""^(?:"(?<value>[^"]+)"|(?<value>\d+(?:\.\d+)?|true|false))$""")]
    private static partial Regex Literal();

    [GeneratedRegex(@"`make ([a-z][a-z-]*)")]
    private static partial Regex MakeTarget();

    [GeneratedRegex(@"\b(?:deploy|build|docs)/[\w./-]*\w")]
    private static partial Regex File();
}
