using Xunit;

namespace Platform.Deploy.Tests;

internal static class Expect
{
    /// <summary>Fails with every offence on a line of its own.</summary>
    public static void None(IEnumerable<string> offences)
    {
        var found = offences.ToList();
        Assert.True(found.Count == 0, string.Join('\n', found));
    }
}
