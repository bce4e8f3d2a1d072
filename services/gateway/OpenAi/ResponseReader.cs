using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Platform.Core.Validation;
using Platform.Text.Templates;

namespace Platform.Gateway.OpenAi;

/// <summary>Reads the parts of a response request that other requests do not have.</summary>
internal static class ResponseReader
{
    private static readonly string[] Roles = ["system", "developer", "user", "assistant"];

    /// <summary>The conversation that a request describes.</summary>
    public static List<ChatMessage> Messages(ResponseRequest request, List<Violation> violations)
    {
        var messages = new List<ChatMessage>();
        if (!string.IsNullOrEmpty(request.Instructions))
            messages.Add(new ChatMessage("system", request.Instructions));
        switch (request.Input)
        {
            case { ValueKind: JsonValueKind.String } text when text.GetString() is { Length: > 0 } input:
                messages.Add(new ChatMessage("user", input));
                break;
            case { ValueKind: JsonValueKind.Array } items when items.GetArrayLength() > 0:
                foreach (var (item, i) in items.EnumerateArray().Select((item, i) => (item, i)))
                {
                    if (Item(item, $"input[{i}]", violations) is { } message)
                        messages.Add(message);
                }

                break;
            default:
                violations.Add(new Violation("input", "Expected text, or an array of at least one message."));
                break;
        }

        return messages;
    }

    /// <summary><c>text.format</c> as <c>response_format</c> has it.</summary>
    public static JsonElement? Format(ResponseTextOptions? text, List<Violation> violations)
    {
        if (text?.Format is not { ValueKind: not JsonValueKind.Null } format)
            return null;
        if (format.ValueKind != JsonValueKind.Object || Text(format, "type") is not ("text" or "json_object" or "json_schema"))
        {
            violations.Add(new Violation("text.format.type", "Expected text, json_object or json_schema."));
            return null;
        }

        if (Text(format, "type") != "json_schema")
            return format;
        if (!format.TryGetProperty("schema", out var schema) || schema.ValueKind != JsonValueKind.Object)
        {
            violations.Add(new Violation("text.format.schema", "Expected a JSON schema, found none."));
            return null;
        }

        return JsonSerializer.SerializeToElement(new JsonObject
        {
            ["type"] = "json_schema",
            ["json_schema"] = new JsonObject { ["schema"] = JsonNode.Parse(schema.GetRawText()) },
        });
    }

    /// <summary>Notes what is asked for and cannot be done.</summary>
    public static void Refuse(ResponseRequest request, List<Violation> violations)
    {
        if (!string.IsNullOrEmpty(request.PreviousResponseId))
            violations.Add(new Violation("previous_response_id", "Responses are not stored in this release; send the conversation so far as input."));
        if (request.Conversation is { ValueKind: not JsonValueKind.Null })
            violations.Add(new Violation("conversation", "Conversations are not stored in this release; send the conversation so far as input."));
        if (request.Tools is { ValueKind: JsonValueKind.Array } tools && tools.GetArrayLength() > 0)
            violations.Add(new Violation("tools", "Tool calls are not available in this release."));
        if (request.Background is true)
            violations.Add(new Violation("background", "An answer is made while its caller waits; leave this out."));
        if (request.Truncation is not (null or "disabled"))
            violations.Add(new Violation("truncation", $"Found '{request.Truncation}'; only disabled is available: an input that is too long is refused."));
        if (request.N is not (null or 1))
            violations.Add(new Violation("n", $"A response has one answer, found {request.N}."));
    }

    private static ChatMessage? Item(JsonElement item, string field, List<Violation> violations)
    {
        if (item.ValueKind != JsonValueKind.Object || (Text(item, "type") ?? "message") != "message")
        {
            violations.Add(new Violation($"{field}.type", $"Found '{(item.ValueKind == JsonValueKind.Object ? Text(item, "type") : item.ValueKind)}'; only messages are available in this release."));
            return null;
        }

        var role = Text(item, "role");
        if (role is null || !Roles.Contains(role))
            violations.Add(new Violation($"{field}.role", $"Found '{role}'; allowed are {string.Join(", ", Roles)}."));
        var content = Content(item, $"{field}.content", violations);
        return role is null || content is null ? null : new ChatMessage(role == "developer" ? "system" : role, content);
    }

    private static string? Content(JsonElement item, string field, List<Violation> violations)
    {
        if (!item.TryGetProperty("content", out var content) || content.ValueKind is not (JsonValueKind.String or JsonValueKind.Array))
        {
            violations.Add(new Violation(field, "Expected a string or an array of text parts."));
            return null;
        }

        if (content.ValueKind == JsonValueKind.String)
            return content.GetString();
        var all = new StringBuilder();
        foreach (var part in content.EnumerateArray())
        {
            if (part.ValueKind != JsonValueKind.Object || Text(part, "type") is not ("input_text" or "output_text" or "text") || Text(part, "text") is not { } piece)
            {
                violations.Add(new Violation(field, "Only parts of type input_text and output_text are allowed; the models read text."));
                return null;
            }

            all.Append(piece);
        }

        return all.ToString();
    }

    private static string? Text(JsonElement element, string name) =>
        element.TryGetProperty(name, out var member) && member.ValueKind == JsonValueKind.String ? member.GetString() : null;
}
