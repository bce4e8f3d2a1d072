using System.Text.Json.Nodes;

namespace Platform.Cli.Files;

/// <summary>Something wrong with the text of a YAML file, before its meaning is looked at.</summary>
/// <param name="Line">Line, from 1.</param>
/// <param name="Message">What is wrong.</param>
internal sealed record YamlProblem(int Line, string Message);

/// <summary>A YAML file as JSON, and on which line each field was written.</summary>
/// <param name="Root">The document; null when it is empty or cannot be read.</param>
/// <param name="Lines">Line of each field, from 1, by its path.</param>
/// <param name="Problems">What is wrong with the text, in order.</param>
internal sealed record YamlSource(JsonNode? Root, IReadOnlyDictionary<string, int> Lines, IReadOnlyList<YamlProblem> Problems);
