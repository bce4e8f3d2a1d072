using System.Reflection;
using System.Xml.Linq;

namespace Platform.Architecture.Tests;

/// <summary>The checkout as these tests see it.</summary>
internal static class Repository
{
    public static string Root { get; } = Find();

    /// <summary>Projects by name, tests and benchmarks included.</summary>
    public static IReadOnlyDictionary<string, Project> Projects { get; } =
        Directory.EnumerateFiles(Root, "*.csproj", SearchOption.AllDirectories)
            .Where(path => !Relative(path).StartsWith("artifacts/", StringComparison.Ordinal))
            .Select(path => new Project(path))
            .ToDictionary(project => project.Name);

    /// <summary>C# sources that are not built output, relative to the root.</summary>
    public static IReadOnlyList<string> Sources { get; } =
        [.. new[] { "libs", "services", "cli", "bench", "tests" }
            .SelectMany(folder => Directory.EnumerateFiles(Path.Combine(Root, folder), "*.cs", SearchOption.AllDirectories))
            .Select(Relative)
            .Order(StringComparer.Ordinal)];

    public static string Read(string relative) => File.ReadAllText(Path.Combine(Root, relative));

    public static string Relative(string path) => Path.GetRelativePath(Root, path).Replace('\\', '/');

    private static string Find()
    {
        var directory = new DirectoryInfo(Path.GetDirectoryName(Assembly.GetExecutingAssembly().Location) ?? ".");
        while (directory is not null && !File.Exists(Path.Combine(directory.FullName, "Platform.sln")))
            directory = directory.Parent;
        return directory?.FullName ?? throw new InvalidOperationException("Platform.sln is in no directory above the test program.");
    }
}

/// <summary>A project file and what it references.</summary>
internal sealed class Project
{
    public Project(string path)
    {
        Name = Path.GetFileNameWithoutExtension(path);
        Folder = Repository.Relative(Path.GetDirectoryName(path) ?? "");
        var xml = XDocument.Load(path);
        References = [.. xml.Descendants("ProjectReference").Select(Include).Select(include => Path.GetFileNameWithoutExtension(include.Replace('\\', '/')))];
        Packages = [.. xml.Descendants("PackageReference").Select(Include)];
        HasVersions = xml.Descendants("PackageReference").Any(reference => reference.Attribute("Version") is not null);
    }

    public string Name { get; }

    public string Folder { get; }

    public IReadOnlyList<string> References { get; }

    public IReadOnlyList<string> Packages { get; }

    public bool HasVersions { get; }

    public bool IsTest => Folder.StartsWith("tests/", StringComparison.Ordinal);

    public bool IsProduct => !IsTest && !Folder.StartsWith("bench", StringComparison.Ordinal);

    private static string Include(XElement element) => element.Attribute("Include")?.Value ?? "";
}
