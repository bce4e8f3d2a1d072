using System.Text.Json.Nodes;
using Platform.Core.Jobs;
using Platform.Core.Validation;
using Xunit;

namespace Platform.Core.Tests.Jobs;

/// <summary>Small job inputs, changed one key at a time.</summary>
internal static class JobInputs
{
    public static JsonObject Good() => (JsonObject)Parse("""
        {
          "kind": "TrainingJob",
          "name": "docs-lm",
          "model": { "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 4 },
          "data": { "source": "corpus/*.txt" },
          "training": { "steps": 10, "global_batch_size": 8 }
        }
        """);

    public static JsonNode Parse(string json) => JsonNode.Parse(json) ?? throw new ArgumentException("Expected a value.", nameof(json));

    /// <summary>The good job with values (as JSON) put at paths.</summary>
    public static JsonObject With(params (string Path, string Json)[] changes)
    {
        var root = Good();
        foreach (var (path, json) in changes)
        {
            var keys = path.Split('.');
            var at = root;
            foreach (var key in keys[..^1])
            {
                if (at[key] is not JsonObject next)
                    at[key] = next = [];
                at = next;
            }

            at[keys[^1]] = JsonNode.Parse(json);
        }

        return root;
    }

    public static TrainingJobSpec Accepted(JsonNode? input) => JobSpecReader.Read(input) switch
    {
        Validated<TrainingJobSpec>.Valid valid => valid.Value,
        Validated<TrainingJobSpec>.Invalid invalid => throw new Xunit.Sdk.XunitException(string.Join("\n", invalid.Violations)),
        _ => throw new InvalidOperationException(),
    };

    public static IReadOnlyList<Violation> Refused(JsonNode? input) =>
        Assert.IsType<Validated<TrainingJobSpec>.Invalid>(JobSpecReader.Read(input)).Violations;

    public static Violation RefusedOnce(JsonNode? input) => Assert.Single(Refused(input));
}
