using System.Text.RegularExpressions;
using Xunit;

namespace Platform.Architecture.Tests;

/// <summary>Rules about the text of the sources.</summary>
public sealed partial class SourceRuleTests
{
    private const int LongestFile = 400;

    // Files longer than the rule allows, with their length. The list may only shrink, and so may its numbers.
    private static readonly Dictionary<string, int> LongFiles = [];

    // Folders whose code decides and does not act: no tasks, clock, chance, logging or I/O.
    private static readonly Regex PureFolder = PureFolderPattern();

    [Fact]
    public void Files_have_one_subject_and_stay_short()
    {
        var offences = Repository.Sources
            .Select(path => (path, lines: File.ReadLines(Path.Combine(Repository.Root, path)).Count()))
            .Where(file => file.lines > LongFiles.GetValueOrDefault(file.path, LongestFile))
            .Select(file => $"{file.path}: {file.lines} lines");
        Assert.Empty(offences);
    }

    [Fact]
    public void The_list_of_long_files_only_names_long_files() =>
        Assert.DoesNotContain(LongFiles, entry =>
            !Repository.Sources.Contains(entry.Key)
            || File.ReadLines(Path.Combine(Repository.Root, entry.Key)).Count() <= LongestFile);

    [Fact]
    public void Pure_folders_do_not_act()
    {
        var offences =
            from path in Repository.Sources
            where PureFolder.IsMatch(path)
            from line in Repository.Read(path).Split('\n').Index()
            let code = line.Item.Split("//")[0]
            where Acting().IsMatch(code)
            select $"{path}:{line.Index + 1}: {line.Item.Trim()}";
        Assert.Empty(offences);
    }

    [Fact]
    public void Pure_folders_of_services_use_only_the_vocabulary()
    {
        var offences =
            from path in Repository.Sources
            where path.StartsWith("services/", StringComparison.Ordinal) && path.Contains("/Core/", StringComparison.Ordinal)
            from use in Using().Matches(Repository.Read(path))
            let name = use.Groups[1].Value
            where !name.StartsWith("System", StringComparison.Ordinal)
                && !name.StartsWith("Platform.Core", StringComparison.Ordinal)
                && !name.Contains(".Core", StringComparison.Ordinal)
            select $"{path}: using {name}";
        Assert.Empty(offences);
    }

    [Fact]
    public void Nothing_is_left_unfinished()
    {
        var offences =
            from path in Repository.Sources
            where !path.StartsWith("tests/Architecture.Tests/", StringComparison.Ordinal)
            from line in Repository.Read(path).Split('\n').Index()
            where Unfinished().IsMatch(line.Item)
            select $"{path}:{line.Index + 1}: {line.Item.Trim()}";
        Assert.Empty(offences);
    }

    [Fact]
    public void Tests_never_sleep()
    {
        var offences =
            from path in Repository.Sources
            where path.StartsWith("tests/", StringComparison.Ordinal)
                && !path.StartsWith("tests/Architecture.Tests/", StringComparison.Ordinal)
            from line in Repository.Read(path).Split('\n').Index()
            where line.Item.Contains("Thread.Sleep(", StringComparison.Ordinal)
            select $"{path}:{line.Index + 1}: {line.Item.Trim()}";
        Assert.Empty(offences);
    }

    [Fact]
    public void Log_event_ids_are_unique_within_a_project()
    {
        var offences =
            from path in Repository.Sources
            where !path.StartsWith("tests/", StringComparison.Ordinal)
            from match in LogEvent().Matches(Repository.Read(path))
            group path by (Project: string.Join('/', path.Split('/').Take(path.StartsWith("services/worker", StringComparison.Ordinal) ? 3 : 2)), Id: match.Groups[1].Value) into uses
            where uses.Count() > 1
            select $"{uses.Key.Project}: event {uses.Key.Id} in {string.Join(", ", uses)}";
        Assert.Empty(offences);
    }

    [GeneratedRegex("^(libs/Platform\\.(Core|Scheduling)/|services/.*/Core/)")]
    private static partial Regex PureFolderPattern();

    [GeneratedRegex(@"\b(async\s|await\s|Task\.|DateTime(Offset)?\.(UtcNow|Now)|TimeProvider|Random\.Shared|new Random\(\)|Guid\.NewGuid|ILogger|Console\.|File\.(?!Name)|Stopwatch|Thread\.|HttpClient)")]
    private static partial Regex Acting();

    [GeneratedRegex(@"^\s*(?:global )?using (?:static )?([A-Za-z][A-Za-z0-9_.]*)\s*;", RegexOptions.Multiline)]
    private static partial Regex Using();

    [GeneratedRegex(@"NotImplementedException|\b(TODO|FIXME|HACK|XXX)\b")]
    private static partial Regex Unfinished();

    [GeneratedRegex(@"LoggerMessage\(\s*(?:EventId\s*=\s*)?([0-9]+)")]
    private static partial Regex LogEvent();
}
