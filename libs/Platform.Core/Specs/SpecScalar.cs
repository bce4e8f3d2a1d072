using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Platform.Core.Specs;

/// <summary>
/// Scalars as files, people and proto3 JSON write them: numbers also as strings (<c>"42"</c>), whole numbers also with an
/// exponent (<c>1e3</c>).
/// </summary>
internal static class SpecScalar
{
    /// <summary>A whole number, or null.</summary>
    public static long? Integer(JsonNode? node) =>
        Digits(node) is { } text
        && decimal.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var number)
        && number == decimal.Truncate(number) && number is >= long.MinValue and <= long.MaxValue
            ? (long)number : null;

    /// <summary>A finite number, or null.</summary>
    public static double? Number(JsonNode? node) =>
        Digits(node) is { } text
        && double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var number) && double.IsFinite(number)
            ? number : null;

    /// <summary>True or false, or null.</summary>
    public static bool? Flag(JsonNode? node) => node?.GetValueKind() switch
    {
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        JsonValueKind.String when bool.TryParse(node.GetValue<string>(), out var flag) => flag,
        _ => null,
    };

    /// <summary>Text, or null.</summary>
    public static string? Text(JsonNode? node) =>
        node?.GetValueKind() == JsonValueKind.String ? node.GetValue<string>() : null;

    /// <summary>Bytes from a size with a unit or a plain number, or null.</summary>
    public static long? Size(JsonNode? node) =>
        Text(node) is { } text
            ? ByteSize.TryParse(text, out var bytes) ? bytes : null
            : Integer(node) is { } number and >= 0 ? number : null;

    /// <summary>A value as an error message quotes it.</summary>
    public static string Show(JsonNode? node) => node switch
    {
        null => "nothing",
        JsonObject => "an object",
        JsonArray => "a list",
        _ when Text(node) is { } text => $"\"{(text.Length > 60 ? text[..60] + "…" : text)}\"",
        _ => node.ToJsonString(),
    };

    private static string? Digits(JsonNode? node) => node?.GetValueKind() switch
    {
        JsonValueKind.Number => node.ToJsonString(),
        JsonValueKind.String => node.GetValue<string>().Trim(),
        _ => null,
    };
}
