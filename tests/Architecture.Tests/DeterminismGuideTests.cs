using System.Text.RegularExpressions;
using Xunit;

namespace Platform.Architecture.Tests;

/// <summary>What <c>docs/determinism.md</c> promises is held by tests that exist.</summary>
public sealed partial class DeterminismGuideTests
{
    [Fact]
    public void Every_test_that_the_guide_names_exists()
    {
        var named = TestName().Matches(Repository.Read("docs/determinism.md")).Select(match => match.Groups[1].Value).Distinct().ToList();
        var tests = string.Join('\n', Repository.Sources.Where(path => path.StartsWith("tests/", StringComparison.Ordinal)).Select(Repository.Read));

        Assert.True(named.Count >= 20, $"Only {named.Count} names of tests were found.");
        Assert.DoesNotContain(named, name => !Regex.IsMatch(tests, $@"\b(void|Task) {name}\("));
    }

    [GeneratedRegex("`([A-Z][a-z]*(_[A-Za-z0-9]+){3,})`")]
    private static partial Regex TestName();
}
