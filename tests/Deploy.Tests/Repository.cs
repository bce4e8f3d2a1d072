using System.Reflection;

namespace Platform.Deploy.Tests;

/// <summary>The checkout as these tests see it.</summary>
internal static class Repository
{
    public static string Root { get; } = Find();

    /// <summary>Sources of the services and of what they share, by path.</summary>
    public static IReadOnlyDictionary<string, string> Sources { get; } =
        new[] { "services", "libs/Platform.Hosting" }
            .SelectMany(folder => Directory.EnumerateFiles(At(folder), "*.cs", SearchOption.AllDirectories))
            .ToDictionary(path => Path.GetRelativePath(Root, path), File.ReadAllText);

    public static string At(string relative) => Path.Combine(Root, relative);

    public static string Read(string relative) => File.ReadAllText(At(relative));

    private static string Find()
    {
        var directory = new DirectoryInfo(Path.GetDirectoryName(Assembly.GetExecutingAssembly().Location) ?? ".");
        while (directory is not null && !File.Exists(Path.Combine(directory.FullName, "Platform.sln")))
            directory = directory.Parent;
        return directory?.FullName ?? throw new InvalidOperationException("Platform.sln is in no directory above the test program.");
    }
}
