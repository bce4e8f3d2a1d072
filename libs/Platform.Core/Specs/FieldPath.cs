using System.Text.Json.Nodes;

namespace Platform.Core.Specs;

/// <summary>Paths of fields as <see cref="Validation.Violation.Field"/> has them: <c>data.source[1]</c>.</summary>
public static class FieldPath
{
    /// <summary>The path of what contains a field; empty for a field at the top.</summary>
    public static string Parent(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        var end = path.LastIndexOfAny(['.', '[']);
        return end < 0 ? "" : path[..end];
    }

    /// <summary>The path of a key in what another path names.</summary>
    public static string Join(string parent, string key)
    {
        ArgumentNullException.ThrowIfNull(parent);
        return parent.Length == 0 ? key : $"{parent}.{key}";
    }

    /// <summary>The value at a path of keys (no list positions); null when it is not there.</summary>
    public static JsonNode? Find(JsonNode? root, string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        var node = root;
        foreach (var key in path.Split('.', StringSplitOptions.RemoveEmptyEntries))
        {
            if (node is not JsonObject json || !json.TryGetPropertyValue(key, out node))
                return null;
        }

        return node;
    }
}
