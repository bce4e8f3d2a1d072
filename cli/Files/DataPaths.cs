using System.Text.Json;
using System.Text.Json.Nodes;
using Platform.Core.Validation;

namespace Platform.Cli.Files;

/// <summary>
/// Makes the paths in a job file absolute: relative ones start at the file's folder, or at the current directory when
/// only there something is found; those of <c>--set</c> start at the current directory. Globs stay globs.
/// </summary>
internal sealed class DataPaths(SpecFile file, Terminal terminal)
{
    private static readonly char[] Wildcards = ['*', '?'];

    /// <summary>Rewrites the paths in the file's values.</summary>
    /// <param name="mustExist">Also report what does not exist here; for a server on this machine.</param>
    public IReadOnlyList<Violation> Resolve(bool mustExist)
    {
        var missing = new List<Violation>();
        if (file.Root is not JsonObject root)
            return missing;
        if (root["model"] is JsonObject model && Text(model["from"]) is { } from)
            model["from"] = ResolveModel(from);
        if (root["data"] is not JsonObject data)
            return missing;
        if (data["source"] is JsonArray sources)
        {
            for (var i = 0; i < sources.Count; i++)
            {
                if (Text(sources[i]) is { } source)
                    sources[i] = ResolveSource($"data.source[{i}]", source, data, mustExist, missing);
            }
        }
        else if (Text(data["source"]) is { } source)
        {
            data["source"] = ResolveSource("data.source", source, data, mustExist, missing);
        }

        if (Text(data["tokenizer"]) is { } tokenizer && tokenizer is not ("byte" or "bpe"))
            data["tokenizer"] = Resolve("data.tokenizer", tokenizer, mustExist, missing);
        else if (data["tokenizer"] is JsonObject described && Text(described["path"]) is { } path)
            described["path"] = Resolve("data.tokenizer.path", path, mustExist, missing);
        return missing;
    }

    /// <summary>A source's weight in a mixture goes by its name, so the name changes there too.</summary>
    private string ResolveSource(string field, string source, JsonObject data, bool mustExist, List<Violation> missing)
    {
        var resolved = Resolve(field, source, mustExist, missing);
        if (resolved != source && data["mixture"] is JsonObject mixture && mixture.ContainsKey(source) && !mixture.ContainsKey(resolved))
        {
            var weight = mixture[source]?.DeepClone();
            mixture.Remove(source);
            mixture[resolved] = weight;
        }

        return resolved;
    }

    /// <summary>A model is a directory if there is one here, and the name of a registered model otherwise.</summary>
    private string ResolveModel(string from)
    {
        var resolved = Resolve("model.from", from, mustExist: false, []);
        var looksLikePath = from.Contains(Path.DirectorySeparatorChar, StringComparison.Ordinal) || from.StartsWith('~') || from.StartsWith('.');
        return looksLikePath || Directory.Exists(resolved) ? resolved : from;
    }

    private string Resolve(string field, string path, bool mustExist, List<Violation> missing)
    {
        var expanded = terminal.ExpandHome(path);
        var here = Path.GetFullPath(expanded, terminal.Directory);
        var beside = file.IsOverridden(field) ? here : Path.GetFullPath(expanded, file.Folder);
        if (Exists(beside))
            return beside;
        if (Exists(here))
            return here;
        if (mustExist)
        {
            missing.Add(new Violation(field, IsGlob(path)
                ? $"\"{path}\" matches nothing (looked for {beside})."
                : $"\"{path}\" does not exist (looked for {beside})."));
        }

        return beside;
    }

    private static bool Exists(string path)
    {
        if (!IsGlob(path))
            return File.Exists(path) || Directory.Exists(path);
        var folder = path[..path.IndexOfAny(Wildcards)];
        folder = folder[..(folder.LastIndexOf(Path.DirectorySeparatorChar) + 1)];
        if (!Directory.Exists(folder))
            return false;
        var rest = path[folder.Length..];

        // Only a pattern for names in one folder can be checked cheaply; deeper ones are the server's to expand.
        return rest.Contains(Path.DirectorySeparatorChar, StringComparison.Ordinal) || Directory.EnumerateFileSystemEntries(folder, rest).Any();
    }

    private static bool IsGlob(string path) => path.IndexOfAny(Wildcards) >= 0;

    private static string? Text(JsonNode? node) =>
        node?.GetValueKind() == JsonValueKind.String && node.GetValue<string>() is { Length: > 0 } text ? text : null;
}
