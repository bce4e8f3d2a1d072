using Platform.Testing;

namespace Platform.EndToEnd.Tests.Harness;

/// <summary>What tests put into their directory.</summary>
internal static class TestDirectory
{
    public static string Sub(this TemporaryDirectory directory, string name) => Directory.CreateDirectory(directory.File(name)).FullName;

    public static string Write(this TemporaryDirectory directory, string name, string text)
    {
        string path = directory.File(name);
        File.WriteAllText(path, text);
        return path;
    }
}
