using Google.Protobuf.Reflection;
using Xunit;

namespace Platform.Protos.Tests;

/// <summary>
/// Compares the API with its record in api.txt. To record an addition run the tests with RECORD_API=1; it refuses to drop
/// a field whose number and name are not reserved.
/// </summary>
public sealed class CompatibilityTests
{
    private static readonly string Record = Path.Combine(AppContext.BaseDirectory, "api.txt");

    [Fact]
    public void Nothing_that_was_recorded_changed_its_number_name_or_type()
    {
        var current = ApiSurface.Lines().ToHashSet(StringComparer.Ordinal);
        var lost = File.ReadAllLines(Record).Where(line => !current.Contains(line) && !IsReserved(line));

        Assert.Empty(lost);
    }

    [Fact]
    public void Everything_there_is_was_recorded()
    {
        if (Environment.GetEnvironmentVariable("RECORD_API") == "1")
            File.WriteAllLines(Path.Combine(SourceFolder(), "api.txt"), ApiSurface.Lines());
        else
            Assert.Empty(ApiSurface.Lines().Except(File.ReadAllLines(Record)));
    }

    [Fact]
    public void No_number_is_used_twice_over_the_record_and_the_present()
    {
        var reused =
            from line in File.ReadAllLines(Record).Concat(ApiSurface.Lines()).Distinct()
            let words = line.Split(' ')
            where words[1].StartsWith('#')
            group line by (words[0], words[1]) into uses
            where uses.Count() > 1
            select string.Join(" | ", uses);

        Assert.Empty(reused);
    }

    private static bool IsReserved(string line)
    {
        var words = line.Split(' ');
        if (!words[1].StartsWith('#'))
            return false;
        var message = ApiSurface.Messages(ApiSurface.All).FirstOrDefault(message => message.FullName == words[0])?.ToProto();
        return message is not null && message.ReservedName.Contains(words[2]) && IsReserved(message, int.Parse(words[1][1..], System.Globalization.CultureInfo.InvariantCulture));
    }

    private static bool IsReserved(DescriptorProto message, int number) => message.ReservedRange.Any(range => number >= range.Start && number < range.End);

    private static string SourceFolder()
    {
        var directory = new DirectoryInfo(AppContext.BaseDirectory);
        while (directory is not null && !File.Exists(Path.Combine(directory.FullName, "Platform.sln")))
            directory = directory.Parent;
        return Path.Combine(directory?.FullName ?? throw new InvalidOperationException("Platform.sln is in no folder above the tests."), "tests", "Protos.Tests");
    }
}
