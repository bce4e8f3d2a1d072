using System.Text.Json;
using System.Text.Json.Nodes;

namespace Platform.Core.Specs;

/// <summary>
/// What the contracts describe but this release cannot do. Using one is an error with a sentence of its own, never
/// silently something else. To add a feature, make it work and delete its line.
/// </summary>
internal static class UnavailableFeatures
{
    private sealed record Feature(string Field, Func<JsonNode, bool> IsUsed, string Message);

    private static readonly Feature[] OfJobs = [];

    private static readonly Feature[] OfDeployments =
    [
        new("scaling_config.device", Is("cuda"), "CUDA devices are not available yet; use cpu."),
    ];

    /// <summary>Notes each use of such a feature in a job.</summary>
    public static void CheckJob(JsonNode? input, ViolationList violations) => Check(OfJobs, input, "", violations);

    /// <summary>Notes each use of such a feature in a deployment.</summary>
    /// <param name="input">The whole input.</param>
    /// <param name="path">Path of the deployment's sections in it.</param>
    /// <param name="violations">Takes what is wrong.</param>
    public static void CheckDeployment(JsonNode? input, string path, ViolationList violations) =>
        Check(OfDeployments, FieldPath.Find(input, path), path, violations);

    private static void Check(Feature[] features, JsonNode? input, string path, ViolationList violations)
    {
        foreach (var feature in features)
        {
            var field = FieldPath.Join(path, feature.Field);
            if (FieldPath.Find(input, feature.Field) is { } value && feature.IsUsed(value) && !violations.IsDoubtful(field))
                violations.Add(field, feature.Message);
        }
    }

    private static bool Given(JsonNode value) => value is not JsonObject { Count: 0 };

    private static Func<JsonNode, bool> Is(string word) =>
        value => value.GetValueKind() == JsonValueKind.String && value.GetValue<string>() == word;
}
