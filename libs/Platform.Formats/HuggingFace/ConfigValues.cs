using System.Text.Json;
using System.Text.Json.Nodes;
using Platform.Core.Validation;

namespace Platform.Formats.HuggingFace;

/// <summary>Typed reading of a configuration's keys; what is wrong is collected, so that all of it is reported at once.</summary>
/// <param name="json">The object.</param>
/// <param name="violations">Gets what is wrong.</param>
/// <param name="prefix">Path of the object, with a dot at its end; empty for the document.</param>
internal sealed class ConfigValues(JsonObject json, List<Violation> violations, string prefix = "")
{
    internal bool Has(string key) => json.TryGetPropertyValue(key, out var value) && value is not null;

    internal void Refuse(string key, string message) => violations.Add(new Violation(prefix + key, message));

    /// <summary>A required size; 1 stands in when it is wrong, after the violation is noted.</summary>
    internal int Size(string key, int? fallback = null)
    {
        if (!Has(key))
        {
            if (fallback is null)
            {
                Refuse(key, "the key is missing.");
            }
            return fallback ?? 1;
        }
        if (Number(key) is { } element && element.TryGetInt32(out var size) && size > 0)
        {
            return size;
        }
        Refuse(key, $"found {Shown(key)}; a whole number from 1 on is expected.");
        return 1;
    }

    internal double Positive(string key, double fallback)
    {
        if (!Has(key))
        {
            return fallback;
        }
        if (Number(key) is { } element && element.TryGetDouble(out var value) && value > 0 && double.IsFinite(value))
        {
            return value;
        }
        Refuse(key, $"found {Shown(key)}; a number above 0 is expected.");
        return fallback;
    }

    internal double? OptionalNumber(string key)
    {
        if (!Has(key))
        {
            return null;
        }
        if (Number(key) is { } element && element.TryGetDouble(out var value) && double.IsFinite(value))
        {
            return value;
        }
        Refuse(key, $"found {Shown(key)}; a number is expected.");
        return null;
    }

    internal bool Flag(string key, bool fallback)
    {
        if (!Has(key))
        {
            return fallback;
        }
        if (Element(key) is { ValueKind: JsonValueKind.True or JsonValueKind.False } element)
        {
            return element.ValueKind == JsonValueKind.True;
        }
        Refuse(key, $"found {Shown(key)}; true or false is expected.");
        return fallback;
    }

    internal string? Text(string key)
    {
        if (!Has(key))
        {
            return null;
        }
        if (Element(key) is { ValueKind: JsonValueKind.String } element)
        {
            return element.GetString();
        }
        Refuse(key, $"found {Shown(key)}; a text is expected.");
        return null;
    }

    /// <summary>Token ids: one, a list of them, or none.</summary>
    internal IReadOnlyList<int> TokenIds(string key)
    {
        if (!Has(key))
        {
            return [];
        }
        var element = Element(key);
        JsonElement[] items = element.ValueKind == JsonValueKind.Array ? [.. element.EnumerateArray()] : [element];
        var ids = new List<int>();
        foreach (var item in items)
        {
            if (item.ValueKind == JsonValueKind.Number && item.TryGetInt32(out var id) && id >= 0)
            {
                ids.Add(id);
            }
            else
            {
                Refuse(key, $"found {Shown(key)}; a token id or a list of them is expected.");
                return [];
            }
        }
        return ids;
    }

    internal ConfigValues? Section(string key)
    {
        if (!Has(key))
        {
            return null;
        }
        if (json[key] is JsonObject section)
        {
            return new ConfigValues(section, violations, $"{prefix}{key}.");
        }
        Refuse(key, $"found {Shown(key)}; an object is expected.");
        return null;
    }

    internal IReadOnlyList<string> Texts(string key) => json[key] is JsonArray list
        ? [.. list.Select(item => item is JsonValue value && value.TryGetValue<string>(out var text) ? text : "?")]
        : [];

    internal string Shown(string key)
    {
        var text = json[key]?.ToJsonString() ?? "null";
        return text.Length <= 80 ? text : text[..80] + "…";
    }

    private JsonElement? Number(string key) => Element(key) is { ValueKind: JsonValueKind.Number } element ? element : null;

    private JsonElement Element(string key) => JsonSerializer.SerializeToElement(json[key]);
}
