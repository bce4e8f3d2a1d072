using System.Text.Json;
using System.Text.RegularExpressions;
using Platform.Core.Validation;
using Platform.V1;

namespace Platform.Gateway.OpenAi;

/// <summary>
/// Reads what an output must match: <c>response_format</c> as the OpenAI API defines it, or vLLM's <c>structured_outputs</c> and
/// the older <c>guided_*</c> fields.
/// </summary>
internal static class ConstraintReader
{
    public static void Read(SamplingRequest request, SamplingParams sampling, List<Violation> violations)
    {
        var found = new List<string>();
        if (request.ResponseFormat is { ValueKind: not JsonValueKind.Null } format)
            Format(format);
        if (request.StructuredOutputs is { ValueKind: not JsonValueKind.Null } outputs)
            Structured(outputs);
        if (request.GuidedJson is { ValueKind: not JsonValueKind.Null } json)
            Schema("guided_json", json);
        if (request.GuidedRegex is { Length: > 0 } regex)
            Expression("guided_regex", regex);
        if (request.GuidedChoice is { ValueKind: not JsonValueKind.Null } choice)
            Choice("guided_choice", choice);
        if (found.Count > 1)
            violations.Add(new Violation(found[1], $"Only one of these may be given; found {string.Join(", ", found)}."));

        void Format(JsonElement element)
        {
            var type = Member(element, "type") is { ValueKind: JsonValueKind.String } name ? name.GetString() : null;
            switch (type)
            {
                case "text":
                    break;
                case "json_object":
                    found.Add("response_format");
                    sampling.JsonSchema = """{"type":"object"}""";
                    break;
                case "json_schema" when Member(element, "json_schema") is { } wrapper && Member(wrapper, "schema") is { } schema:
                    Schema("response_format", schema);
                    break;
                case "json_schema":
                    violations.Add(new Violation("response_format.json_schema.schema", "Expected a JSON schema, found none."));
                    break;
                default:
                    violations.Add(new Violation("response_format.type", $"Found '{type}'; allowed are text, json_object and json_schema."));
                    break;
            }
        }

        void Structured(JsonElement element)
        {
            if (element.ValueKind != JsonValueKind.Object)
            {
                violations.Add(new Violation("structured_outputs", "Expected an object with json, regex or choice."));
                return;
            }

            foreach (var member in element.EnumerateObject().Where(member => member.Value.ValueKind != JsonValueKind.Null))
            {
                var field = $"structured_outputs.{member.Name}";
                if (member.Name == "json")
                    Schema(field, member.Value);
                else if (member.Name == "regex" && member.Value.ValueKind == JsonValueKind.String)
                    Expression(field, member.Value.GetString() ?? "");
                else if (member.Name == "choice")
                    Choice(field, member.Value);
                else
                    violations.Add(new Violation(field, "Only json, regex (a string) and choice are available."));
            }
        }

        void Schema(string field, JsonElement schema)
        {
            found.Add(field);
            sampling.JsonSchema = schema.ValueKind == JsonValueKind.String ? schema.GetString() ?? "" : schema.GetRawText();
        }

        void Expression(string field, string expression)
        {
            found.Add(field);
            sampling.Regex = expression;
        }

        void Choice(string field, JsonElement choices)
        {
            if (choices.ValueKind != JsonValueKind.Array || choices.GetArrayLength() == 0 || choices.EnumerateArray().Any(item => item.ValueKind != JsonValueKind.String))
                violations.Add(new Violation(field, "Expected an array of at least one string."));
            else
                Expression(field, string.Join('|', choices.EnumerateArray().Select(item => Regex.Escape(item.GetString() ?? ""))));
        }
    }

    private static JsonElement? Member(JsonElement element, string name) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty(name, out var member) ? member : null;
}
