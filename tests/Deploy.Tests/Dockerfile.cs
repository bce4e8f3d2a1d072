using System.Text.RegularExpressions;

namespace Platform.Deploy.Tests;

/// <summary>A Dockerfile of deploy/docker, instruction by instruction.</summary>
internal sealed partial class Dockerfile
{
    private Dockerfile(string name, string text)
    {
        Name = name;
        string joined = Continuation().Replace(Comment().Replace(text, ""), " ");
        Instructions = [.. joined.Split('\n', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)
            .Select(line => line.Split(' ', 2, StringSplitOptions.TrimEntries))
            .Select(parts => (parts[0].ToUpperInvariant(), parts.Length > 1 ? parts[1] : ""))];
        Environment = Arguments("ENV").SelectMany(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries))
            .ToDictionary(pair => pair.Split('=', 2)[0], pair => pair.Split('=', 2)[1]);
    }

    /// <summary>All of them.</summary>
    public static IReadOnlyList<Dockerfile> All { get; } =
        [.. Directory.EnumerateFiles(Repository.At("deploy/docker"), "*.Dockerfile").Order(StringComparer.Ordinal)
            .Select(path => new Dockerfile(Path.GetFileName(path).Replace(".Dockerfile", "", StringComparison.Ordinal), File.ReadAllText(path)))];

    /// <summary>Projects that build/publish.sh publishes, by the directory it makes.</summary>
    public static IReadOnlyDictionary<string, string> Published { get; } =
        PublishedProject().Matches(Repository.Read("build/publish.sh")).ToDictionary(match => match.Groups[1].Value, match => match.Groups[2].Value);

    public string Name { get; }

    public IReadOnlyList<(string Instruction, string Arguments)> Instructions { get; }

    public IReadOnlyDictionary<string, string> Environment { get; }

    public IEnumerable<string> Exposes => Arguments("EXPOSE").SelectMany(line => line.Split(' '));

    /// <summary>The file that builds <c>platform/NAME</c>.</summary>
    public static Dockerfile OfImage(string? image) =>
        All.Single(file => $"platform/{file.Name}" == image);

    public IEnumerable<string> Arguments(string instruction) =>
        Instructions.Where(each => each.Instruction == instruction).Select(each => each.Arguments);

    /// <summary>Whether an environment variable or an argument of the program names this port to listen on.</summary>
    public bool ListensOn(string port) =>
        Environment.Any(pair => (pair.Key.EndsWith("Listen", StringComparison.Ordinal) && pair.Value == $"*:{port}")
            || (pair.Key.EndsWith("Port", StringComparison.Ordinal) && pair.Value == port))
        || Arguments("CMD").Any(arguments => arguments.Contains($"*:{port}", StringComparison.Ordinal));

    [GeneratedRegex(@"^#.*\n", RegexOptions.Multiline)]
    private static partial Regex Comment();

    [GeneratedRegex(@"\\\n\s*")]
    private static partial Regex Continuation();

    [GeneratedRegex(@"\[(\w+)\]=([\w./]+)")]
    private static partial Regex PublishedProject();
}
