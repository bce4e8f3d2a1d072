using System.Text.Json.Nodes;
using Platform.Core.Specs;
using Platform.Core.Validation;

namespace Platform.Cli.Files;

/// <summary>A job or deployment file with what <c>--set</c> changed, able to say where each field was written.</summary>
internal sealed class SpecFile
{
    private readonly YamlSource _source;
    private readonly Dictionary<string, string> _overridden = new(StringComparer.Ordinal);

    private SpecFile(string name, string folder, YamlSource source)
    {
        Name = name;
        Folder = folder;
        _source = source;
        Root = source.Root;
    }

    /// <summary>The file as its user named it.</summary>
    public string Name { get; }

    /// <summary>Absolute path of the folder the file is in.</summary>
    public string Folder { get; }

    /// <summary>What is written, overrides applied.</summary>
    public JsonNode? Root { get; private set; }

    /// <summary>Reads a file and applies overrides.</summary>
    /// <param name="name">The file as its user named it.</param>
    /// <param name="overrides">Each <c>path=value</c>, the value in YAML.</param>
    /// <param name="terminal">Where relative paths start.</param>
    /// <exception cref="CommandException">There is no such file, or it is not YAML, or an override is not one.</exception>
    public static SpecFile Load(string name, IReadOnlyList<string> overrides, Terminal terminal)
    {
        var path = terminal.Absolute(name);
        string text;
        try
        {
            text = File.ReadAllText(path);
        }
        catch (Exception error) when (error is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new CommandException($"{name}: There is no such file.");
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new CommandException($"{name}: The file cannot be read: {error.Message}");
        }

        var file = new SpecFile(name, Path.GetDirectoryName(path) ?? "/", YamlReader.Read(text));
        if (file.Root is null && file._source.Problems.Count > 0)
            throw file.Refuse([]);
        foreach (var change in overrides)
            file.Override(change);
        return file;
    }

    /// <summary>Whether the file's text itself is in order.</summary>
    public bool IsWellFormed => _source.Problems.Count == 0;

    /// <summary>Whether a field, or what contains it, comes from <c>--set</c>.</summary>
    public bool IsOverridden(string field) => Override(field, out _);

    /// <summary>Everything that is wrong, each with its file and line, as one error.</summary>
    public CommandException Refuse(IEnumerable<Violation> violations)
    {
        var found = _source.Problems.Select(problem => (problem.Line, Text: $"{Name}:{problem.Line}: {problem.Message}"))
            .Concat(violations.Select(violation => (Line: LineOf(violation.Field), Text: $"{Locate(violation.Field)}: {Describe(violation)}")))
            .OrderBy(problem => problem.Line).Select(problem => problem.Text).ToList();
        var count = found.Count == 1 ? "1 error" : $"{found.Count} errors";
        return new CommandException(string.Join("\n", [.. found, $"{count} in {Name}; nothing was submitted."]));
    }

    /// <summary>Where a field was written: <c>job.yaml:12</c>, or the <c>--set</c> it comes from.</summary>
    public string Locate(string field) =>
        Override(field, out var change) ? $"--set {change}" : $"{Name}:{LineOf(field)}";

    private static string Describe(Violation violation) =>
        violation.Field.Length == 0 ? violation.Message : violation.ToString();

    private int LineOf(string field)
    {
        if (Override(field, out _))
            return int.MaxValue;
        for (var path = field; path.Length > 0; path = FieldPath.Parent(path))
        {
            if (_source.Lines.TryGetValue(path, out var line))
                return line;
        }

        return 1;
    }

    private bool Override(string field, out string change)
    {
        for (var path = field; path.Length > 0; path = FieldPath.Parent(path))
        {
            if (_overridden.TryGetValue(path, out var found))
            {
                change = found;
                return true;
            }
        }

        change = "";
        return false;
    }

    private void Override(string change)
    {
        var split = change.IndexOf('=', StringComparison.Ordinal);
        if (split <= 0)
            throw new CommandException($"--set {change}: Expected a field and a value, such as --set training.steps=100.");
        var (path, value) = (change[..split].Trim(), YamlReader.Read(change[(split + 1)..]));
        if (value.Problems.Count > 0)
            throw new CommandException($"--set {change}: {value.Problems[0].Message}");

        Root ??= new JsonObject();
        var at = Root as JsonObject ?? throw new CommandException($"--set {change}: {Name} does not hold keys with values.");
        var keys = path.Split('.');
        foreach (var key in keys[..^1])
        {
            if (at[key] is not JsonObject next)
            {
                if (at[key] is not null)
                    throw new CommandException($"--set {change}: {key} in {Name} is not an object; set {key} itself.");
                at[key] = next = [];
            }

            at = next;
        }

        at[keys[^1]] = value.Root?.DeepClone();
        _overridden[path] = change;
    }
}
