using System.Net.Http.Json;
using System.Text.Json;
using Xunit;

namespace Platform.Gateway.Tests;

/// <summary>OpenAI's Responses API.</summary>
public sealed class ResponsesTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_whole_response_has_one_message_and_its_usage()
    {
        await using var cluster = await ScriptedCluster.StartAsync();
        var replica = await cluster.AddReplicaAsync();
        using var answer = await PostAsync(cluster, new
        {
            model = "fox",
            instructions = "be brief",
            input = new object[]
            {
                new { role = "user", content = "the quick" },
                new { type = "message", role = "assistant", content = new[] { new { type = "output_text", text = "brown" } } },
                new { role = "user", content = new[] { new { type = "input_text", text = "fox " }, new { type = "input_text", text = "jumps" } } },
            },
            max_output_tokens = 3,
            temperature = 0.5,
            metadata = new { ticket = "7" },
        });
        var root = answer.RootElement;
        Assert.Equal(
            ("response", "incomplete", "max_output_tokens", "fox", "be brief", 3, 0.5, false, "7"),
            (Text(root, "object"), Text(root, "status"), Text(root.GetProperty("incomplete_details"), "reason"), Text(root, "model"), Text(root, "instructions"),
                root.GetProperty("max_output_tokens").GetInt32(), root.GetProperty("temperature").GetDouble(), root.GetProperty("store").GetBoolean(), Text(root.GetProperty("metadata"), "ticket")));
        foreach (var empty in new[] { "error", "previous_response_id" })
            Assert.Equal(JsonValueKind.Null, root.GetProperty(empty).ValueKind);
        var message = Assert.Single(root.GetProperty("output").EnumerateArray());
        Assert.Equal(("message", "assistant", "incomplete"), (Text(message, "type"), Text(message, "role"), Text(message, "status")));
        var part = Assert.Single(message.GetProperty("content").EnumerateArray());
        Assert.Equal(("output_text", "t0 t1 t2 "), (Text(part, "type"), Text(part, "text")));
        var usage = root.GetProperty("usage");
        Assert.Equal(3, usage.GetProperty("output_tokens").GetInt32());
        Assert.Equal(usage.GetProperty("input_tokens").GetInt32() + 3, usage.GetProperty("total_tokens").GetInt32());
        var prompt = cluster.Tokenizer.Decode(Assert.Single(replica.Requests).PromptTokens);
        foreach (var words in new[] { "be brief", "the quick", "brown", "fox jumps" })
            Assert.Contains(words, prompt, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_stream_has_the_events_of_one_text_in_order()
    {
        await using var cluster = await ScriptedCluster.StartAsync();
        await cluster.AddReplicaAsync();
        var events = await StreamAsync(cluster, new { model = "fox", input = "the quick brown fox", max_output_tokens = 3, stream = true });
        Assert.Equal(
            [
                "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added", "response.output_text.delta",
                "response.output_text.delta", "response.output_text.delta", "response.output_text.done", "response.content_part.done",
                "response.output_item.done", "response.incomplete",
            ],
            events.Select(e => e.Name));
        Assert.All(events, e => Assert.Equal(e.Name, Text(e.Data, "type")));
        Assert.Equal(Enumerable.Range(0, events.Count), events.Select(e => e.Data.GetProperty("sequence_number").GetInt32()));
        Assert.Equal("t0 t1 t2 ", string.Concat(events.Where(e => e.Name == "response.output_text.delta").Select(e => Text(e.Data, "delta"))));
        Assert.Equal("t0 t1 t2 ", Text(events[7].Data, "text"));
        Assert.Equal("in_progress", Text(events[0].Data.GetProperty("response"), "status"));
        var last = events[^1].Data.GetProperty("response");
        Assert.Equal(3, last.GetProperty("usage").GetProperty("output_tokens").GetInt32());
        Assert.Equal(Text(events[4].Data, "item_id"), Text(last.GetProperty("output")[0], "id"));
    }

    [Fact]
    public async Task A_failure_after_the_first_event_is_an_event()
    {
        await using var cluster = await ScriptedCluster.StartAsync();
        var replica = await cluster.AddReplicaAsync();
        replica.DieAfter = 2;
        var events = await StreamAsync(cluster, new { model = "fox", input = "the quick brown fox", max_output_tokens = 5, stream = true });
        Assert.Equal("response.failed", events[^1].Name);
        Assert.Equal("server_error", Text(events[^1].Data.GetProperty("response").GetProperty("error"), "code"));
        Assert.Equal("t0 t1 ", Text(events[^1].Data.GetProperty("response").GetProperty("output")[0].GetProperty("content")[0], "text"));
    }

    [Fact]
    public async Task A_format_of_the_text_holds_the_output_to_its_schema()
    {
        await using var cluster = await ScriptedCluster.StartAsync();
        var replica = await cluster.AddReplicaAsync();
        using var answer = await PostAsync(cluster, new
        {
            model = "fox",
            input = "x",
            max_output_tokens = 1,
            text = new { format = new { type = "json_schema", name = "answer", strict = true, schema = new { type = "object" } } },
        });
        Assert.Equal("""{"type":"object"}""", Assert.Single(replica.Requests).Sampling.JsonSchema);
        Assert.Equal("answer", Text(answer.RootElement.GetProperty("text").GetProperty("format"), "name"));
    }

    [Fact]
    public async Task A_response_is_not_kept()
    {
        await using var cluster = await ScriptedCluster.StartAsync();
        using var http = new HttpClient();
        using var response = await http.GetAsync($"{cluster.Http}/v1/responses/resp_1", Cancellation);
        Assert.Equal(404, (int)response.StatusCode);
        Assert.Contains("responses are not stored", await response.Content.ReadAsStringAsync(Cancellation), StringComparison.Ordinal);
    }

    private static string? Text(JsonElement element, string name) => element.GetProperty(name).GetString();

    private static async Task<JsonDocument> PostAsync(ScriptedCluster cluster, object body)
    {
        using var http = new HttpClient();
        using var response = await http.PostAsJsonAsync($"{cluster.Http}/v1/responses", body, Cancellation);
        var text = await response.Content.ReadAsStringAsync(Cancellation);
        Assert.True(response.IsSuccessStatusCode, text);
        return JsonDocument.Parse(text);
    }

    private static async Task<List<(string Name, JsonElement Data)>> StreamAsync(ScriptedCluster cluster, object body)
    {
        using var http = new HttpClient();
        using var response = await http.PostAsJsonAsync($"{cluster.Http}/v1/responses", body, Cancellation);
        Assert.Equal("text/event-stream", response.Content.Headers.ContentType?.MediaType);
        var blocks = (await response.Content.ReadAsStringAsync(Cancellation)).Split("\n\n", StringSplitOptions.RemoveEmptyEntries);
        return [.. blocks.Select(block =>
        {
            var lines = block.Split('\n');
            Assert.StartsWith("event: ", lines[0], StringComparison.Ordinal);
            Assert.StartsWith("data: ", lines[1], StringComparison.Ordinal);
            return (lines[0]["event: ".Length..], JsonDocument.Parse(lines[1]["data: ".Length..]).RootElement);
        })];
    }
}
