using System.ClientModel;
using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using OpenAI;
using OpenAI.Chat;
using Platform.V1;
using Xunit;

namespace Platform.Gateway.Tests;

/// <summary>The OpenAI API, called with OpenAI's own client and by hand.</summary>
public sealed class OpenAiTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task The_official_client_streams_a_chat()
    {
        await using var cluster = await ScriptedCluster.StartAsync();
        var replica = await cluster.AddReplicaAsync();
        var client = Client(cluster).GetChatClient("fox");
        var text = "";
        ChatFinishReason? reason = null;
        await foreach (var update in client.CompleteChatStreamingAsync(
            [new UserChatMessage("the quick brown fox")], new ChatCompletionOptions { MaxOutputTokenCount = 4 }, Cancellation))
        {
            text += string.Concat(update.ContentUpdate.Select(part => part.Text));
            reason ??= update.FinishReason;
        }
        Assert.Equal("t0 t1 t2 t3 ", text);
        Assert.Equal(ChatFinishReason.Length, reason);
        var request = Assert.Single(replica.Requests);
        Assert.Contains("the quick brown fox", cluster.Tokenizer.Decode(request.PromptTokens), StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_official_client_reads_a_whole_chat_with_its_usage()
    {
        await using var cluster = await ScriptedCluster.StartAsync();
        await cluster.AddReplicaAsync();
        ChatCompletion answer = await Client(cluster).GetChatClient("fox").CompleteChatAsync(
            [new SystemChatMessage("be brief"), new UserChatMessage("hello")], new ChatCompletionOptions { MaxOutputTokenCount = 3 }, Cancellation);
        Assert.Equal("t0 t1 t2 ", answer.Content[0].Text);
        Assert.Equal(3, answer.Usage.OutputTokenCount);
        Assert.True(answer.Usage.InputTokenCount > 0);
    }

    [Fact]
    public async Task The_official_client_lists_models()
    {
        await using var cluster = await ScriptedCluster.StartAsync();
        await cluster.AddReplicaAsync("fox");
        await cluster.AddReplicaAsync("dog");
        var models = (await Client(cluster).GetOpenAIModelClient().GetModelsAsync(Cancellation)).Value;
        Assert.Equal(["dog", "fox"], models.Select(model => model.Id));
    }

    [Fact]
    public async Task Completions_stream_events_and_end_with_done()
    {
        await using var cluster = await ScriptedCluster.StartAsync();
        await cluster.AddReplicaAsync();
        using var http = new HttpClient();
        using var response = await http.PostAsJsonAsync(
            $"{cluster.Http}/v1/completions",
            new { model = "fox", prompt = "the", max_tokens = 2, stream = true, stream_options = new { include_usage = true } },
            Cancellation);
        Assert.Equal("text/event-stream", response.Content.Headers.ContentType?.MediaType);
        var events = (await response.Content.ReadAsStringAsync(Cancellation)).Split("\n\n", StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal("data: [DONE]", events[^1]);
        var usage = JsonDocument.Parse(events[^2]["data: ".Length..]).RootElement;
        Assert.Equal(0, usage.GetProperty("choices").GetArrayLength());
        Assert.Equal(2, usage.GetProperty("usage").GetProperty("completion_tokens").GetInt32());
        var last = JsonDocument.Parse(events[^3]["data: ".Length..]).RootElement.GetProperty("choices")[0];
        Assert.Equal("length", last.GetProperty("finish_reason").GetString());
    }

    [Fact]
    public async Task Several_prompts_and_choices_are_numbered_through()
    {
        await using var cluster = await ScriptedCluster.StartAsync();
        await cluster.AddReplicaAsync();
        var body = await PostAsync(cluster, "/v1/completions", new { model = "fox", prompt = new[] { "a", "b" }, n = 2, max_tokens = 1 }, HttpStatusCode.OK);
        Assert.Equal([0, 1, 2, 3], body.GetProperty("choices").EnumerateArray().Select(choice => choice.GetProperty("index").GetInt32()));
    }

    [Fact]
    public async Task Token_prompts_pass_as_they_are()
    {
        await using var cluster = await ScriptedCluster.StartAsync();
        var replica = await cluster.AddReplicaAsync();
        await PostAsync(cluster, "/v1/completions", new { model = "fox", prompt = new[] { 5, 6, 7 }, max_tokens = 1 }, HttpStatusCode.OK);
        Assert.Equal([5, 6, 7], Assert.Single(replica.Requests).PromptTokens);
    }

    [Fact]
    public async Task The_deployments_defaults_fill_what_the_request_leaves_open()
    {
        await using var cluster = await ScriptedCluster.StartAsync();
        var generation = new GenerationDefaults { Temperature = 0.7, MaxTokens = 5 };
        generation.Stop.Add("END");
        var replica = await cluster.AddReplicaAsync(generation: generation);
        await PostAsync(cluster, "/v1/completions", new { model = "fox", prompt = "a", stop = "X" }, HttpStatusCode.OK);
        var sampling = Assert.Single(replica.Requests).Sampling;
        Assert.Equal(0.7, sampling.Temperature);
        Assert.Equal(5, sampling.MaxTokens);
        Assert.Equal(["X", "END"], sampling.Stop);
    }

    [Theory]
    [InlineData("""{"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"type":"integer"}}}}""", """{"type":"integer"}""", "")]
    [InlineData("""{"response_format":{"type":"json_object"}}""", """{"type":"object"}""", "")]
    [InlineData("""{"response_format":{"type":"text"}}""", "", "")]
    [InlineData("""{"structured_outputs":{"json":{"type":"null"}}}""", """{"type":"null"}""", "")]
    [InlineData("""{"structured_outputs":{"choice":["a.b","c"]}}""", "", @"a\.b|c")]
    [InlineData("""{"guided_regex":"a+"}""", "", "a+")]
    public async Task What_an_output_must_match_reaches_the_replica(string fields, string schema, string regex)
    {
        await using var cluster = await ScriptedCluster.StartAsync();
        var replica = await cluster.AddReplicaAsync();
        var body = JsonSerializer.Deserialize<Dictionary<string, object>>(fields) ?? [];
        await PostAsync(cluster, "/v1/completions", new Dictionary<string, object>(body) { ["model"] = "fox", ["prompt"] = "a" }, HttpStatusCode.OK);
        var sampling = Assert.Single(replica.Requests).Sampling;
        Assert.Equal((schema, regex), (sampling.JsonSchema, sampling.Regex));
    }

    [Fact]
    public async Task Embeddings_come_as_numbers_or_base64()
    {
        await using var cluster = await ScriptedCluster.StartAsync();
        await cluster.AddReplicaAsync();
        var numbers = await PostAsync(cluster, "/v1/embeddings", new { model = "fox", input = new[] { "a", "b" } }, HttpStatusCode.OK);
        Assert.Equal([1, 0.5f], numbers.GetProperty("data")[1].GetProperty("embedding").EnumerateArray().Select(value => value.GetSingle()));
        var text = await PostAsync(cluster, "/v1/embeddings", new { model = "fox", input = "a", encoding_format = "base64" }, HttpStatusCode.OK);
        var bytes = Convert.FromBase64String(text.GetProperty("data")[0].GetProperty("embedding").GetString() ?? "");
        Assert.Equal([0, 0.5f], System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(bytes).ToArray());
    }

    [Fact]
    public async Task Everything_wrong_with_a_request_is_told_at_once()
    {
        await using var cluster = await ScriptedCluster.StartAsync();
        await cluster.AddReplicaAsync();
        var error = (await PostAsync(
            cluster,
            "/v1/chat/completions",
            new { model = "fox", messages = new[] { new { role = "wizard", content = "x" } }, temperature = 9, top_p = -1, n = 99 },
            HttpStatusCode.BadRequest)).GetProperty("error");
        string message = error.GetProperty("message").GetString() ?? "";
        foreach (string field in new[] { "temperature", "top_p", "n: Found 99; allowed are 1 to 16", "messages[0].role" })
            Assert.Contains(field, message, StringComparison.Ordinal);
        Assert.Equal("invalid_request_error", error.GetProperty("type").GetString());
    }

    [Theory]
    [InlineData("/v1/completions", """{"model":"fox"}""", 400, "prompt")]
    [InlineData("/v1/completions", """{"model":"cat","prompt":"a"}""", 404, "model")]
    [InlineData("/v1/completions", """{"prompt":"a"}""", 400, "model")]
    [InlineData("/v1/completions", """{"model":""", 400, null)]
    [InlineData("/v1/completions", """{"model":"fox","prompt":"a","echo":true}""", 400, "echo")]
    [InlineData("/v1/completions", """{"model":"fox","prompt":"a","response_format":{"type":"xml"}}""", 400, "response_format.type")]
    [InlineData("/v1/completions", """{"model":"fox","prompt":"a","guided_regex":"a","guided_json":{}}""", 400, "guided_regex")]
    [InlineData("/v1/chat/completions", """{"model":"fox","messages":[]}""", 400, "messages")]
    [InlineData("/v1/chat/completions", """{"model":"fox","messages":[{"role":"user","content":[{"type":"image_url"}]}]}""", 400, "messages[0].content")]
    [InlineData("/v1/embeddings", """{"model":"fox","input":[],"pooling":"max"}""", 400, "pooling")]
    [InlineData("/v1/responses", """{"model":"fox"}""", 400, "input")]
    [InlineData("/v1/responses", """{"model":"fox","input":"a","previous_response_id":"resp_1"}""", 400, "previous_response_id")]
    [InlineData("/v1/responses", """{"model":"fox","input":"a","max_output_tokens":0}""", 400, "max_output_tokens")]
    [InlineData("/v1/responses", """{"model":"fox","input":[{"type":"item_reference","id":"x"}]}""", 400, "input[0].type")]
    [InlineData("/v1/responses", """{"model":"fox","input":[{"role":"user","content":[{"type":"input_image"}]}]}""", 400, "input[0].content")]
    [InlineData("/v1/responses", """{"model":"fox","input":"a","text":{"format":{"type":"json_schema","name":"x"}}}""", 400, "text.format.schema")]
    [InlineData("/v1/responses", """{"model":"fox","input":"a","tools":[{"type":"web_search"}]}""", 400, "tools")]
    [InlineData("/v1/responses", """{"model":"wolf","input":"a"}""", 404, "model")]
    public async Task A_bad_request_names_its_field(string path, string json, int status, string? field)
    {
        await using var cluster = await ScriptedCluster.StartAsync();
        await cluster.AddReplicaAsync();
        using var http = new HttpClient();
        using var content = new StringContent(json, System.Text.Encoding.UTF8, "application/json");
        using var response = await http.PostAsync(cluster.Http + path, content, Cancellation);
        Assert.Equal(status, (int)response.StatusCode);
        var error = JsonDocument.Parse(await response.Content.ReadAsStringAsync(Cancellation)).RootElement.GetProperty("error");
        Assert.False(string.IsNullOrEmpty(error.GetProperty("message").GetString()));
        if (field is not null)
            Assert.Equal(field, error.GetProperty("param").GetString());
    }

    [Fact]
    public async Task A_full_queue_is_429_with_a_time_to_try_again()
    {
        await using var cluster = await ScriptedCluster.StartAsync();
        var replica = await cluster.AddReplicaAsync();
        replica.Refuse = new Platform.Hosting.Errors.ResourceExhaustedException("QUEUE_FULL", "full", TimeSpan.FromSeconds(3)).ToRpcException();
        using var http = new HttpClient();
        using var response = await http.PostAsJsonAsync($"{cluster.Http}/v1/completions", new { model = "fox", prompt = "a" }, Cancellation);
        Assert.Equal(HttpStatusCode.TooManyRequests, response.StatusCode);
        Assert.Equal(TimeSpan.FromSeconds(3), response.Headers.RetryAfter?.Delta);
    }

    [Fact]
    public async Task A_client_that_leaves_cancels_its_request_at_the_replica()
    {
        await using var cluster = await ScriptedCluster.StartAsync();
        var replica = await cluster.AddReplicaAsync();
        replica.Hang = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using var http = new HttpClient();
        using var request = new HttpRequestMessage(HttpMethod.Post, $"{cluster.Http}/v1/completions")
        {
            Content = JsonContent.Create(new { model = "fox", prompt = "a", max_tokens = 9, stream = true }),
        };
        var response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, Cancellation);
        var stream = await response.Content.ReadAsStreamAsync(Cancellation);
        Assert.True(await stream.ReadAsync(new byte[16], Cancellation) > 0);
        response.Dispose();
        await replica.Hang.Task.WaitAsync(Cancellation);
    }

    [Fact]
    public async Task A_stream_goes_on_elsewhere_when_its_replica_dies()
    {
        await using var cluster = await ScriptedCluster.StartAsync();
        var first = await cluster.AddReplicaAsync();
        var second = await cluster.AddReplicaAsync();
        first.DieAfter = second.DieAfter = 3;
        using var http = new HttpClient();
        // Whichever is asked first dies at token 3; the other continues there and does not die, because it starts at 3.
        var dying = new[] { first, second };
        var body = PostAsync(cluster, "/v1/completions", new { model = "fox", prompt = "a", max_tokens = 6 }, HttpStatusCode.OK);
        while (dying.All(replica => replica.Requests.IsEmpty))
            await Task.Yield();
        foreach (var replica in dying.Where(replica => replica.Requests.IsEmpty))
            replica.DieAfter = null;
        string text = (await body).GetProperty("choices")[0].GetProperty("text").GetString() ?? "";
        Assert.Equal("t0 t1 t2 t3 t4 t5 ", text);
        Assert.Equal(2, dying.Sum(replica => replica.Requests.Count));
        Assert.Equal([0, 1, 2], dying.SelectMany(replica => replica.Requests).Single(request => request.ProducedTokens.Count > 0).ProducedTokens);
    }

    [Fact]
    public async Task A_request_for_a_sleeping_deployment_wakes_it_and_waits()
    {
        await using var cluster = await ScriptedCluster.StartAsync();
        await cluster.DeployAsync("fox", []);
        cluster.Scheduler.OnWake = _ => { };
        var answer = PostAsync(cluster, "/v1/completions", new { model = "fox", prompt = "a", max_tokens = 1 }, HttpStatusCode.OK);
        while (cluster.Scheduler.Woken.Count == 0)
            await Task.Yield();
        await cluster.AddReplicaAsync();
        Assert.Equal("t0 ", (await answer).GetProperty("choices")[0].GetProperty("text").GetString());
        Assert.Equal(["fox"], cluster.Scheduler.Woken.Distinct());
    }

    [Fact]
    public async Task Without_a_replica_in_time_the_answer_is_503()
    {
        await using var cluster = await ScriptedCluster.StartAsync("--Gateway:WakeTimeoutSeconds=0");
        await cluster.DeployAsync("fox", []);
        var error = await PostAsync(cluster, "/v1/completions", new { model = "fox", prompt = "a" }, HttpStatusCode.ServiceUnavailable);
        Assert.Contains("platform deployments get fox", error.GetProperty("error").GetProperty("message").GetString() ?? "", StringComparison.Ordinal);
    }

    [Fact]
    public async Task With_keys_only_a_known_key_is_let_in_and_names_the_tenant()
    {
        string hash = Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData("secret"u8));
        await using var cluster = await ScriptedCluster.StartAsync($"--Gateway:ApiKeys:acme={hash}");
        var replica = await cluster.AddReplicaAsync();
        using var http = new HttpClient();
        using var refused = await http.GetAsync($"{cluster.Http}/v1/models", Cancellation);
        Assert.Equal(HttpStatusCode.Unauthorized, refused.StatusCode);
        using var open = await http.GetAsync($"{cluster.Http}/healthz", Cancellation);
        Assert.Equal(HttpStatusCode.OK, open.StatusCode);
        http.DefaultRequestHeaders.Authorization = new("Bearer", "secret");
        using var answer = await http.PostAsJsonAsync($"{cluster.Http}/v1/completions", new { model = "fox", prompt = "a", max_tokens = 1 }, Cancellation);
        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        Assert.Equal("acme", Assert.Single(replica.Requests).Tenant);
    }

    private static OpenAIClient Client(ScriptedCluster cluster) =>
        new(new ApiKeyCredential("none"), new OpenAIClientOptions { Endpoint = new Uri($"{cluster.Http}/v1") });

    [Fact]
    public async Task A_comparison_puts_answers_times_and_costs_side_by_side_and_one_that_fails_beside_them()
    {
        await using var cluster = await ScriptedCluster.StartAsync("--Gateway:DevicePricePerHour=2");
        await cluster.AddReplicaAsync();
        await cluster.AddReplicaAsync("dog");
        var body = await PostAsync(
            cluster, "/api/v1/inference:compare",
            new { models = new[] { "dog", "cat", "fox" }, prompt = "the", sampling = new { maxTokens = 4 } }, HttpStatusCode.OK);
        var results = body.GetProperty("results").EnumerateArray().ToList();
        Assert.Equal(["dog", "cat", "fox"], results.Select(result => result.GetProperty("model").GetString()));
        Assert.Contains("deployed are dog, fox", results[1].GetProperty("error").GetString(), StringComparison.Ordinal);
        foreach (var answer in new[] { results[0], results[2] })
        {
            Assert.Equal("t0 t1 t2 t3 ", answer.GetProperty("text").GetString());
            Assert.Equal("length", answer.GetProperty("finishReason").GetString());
            Assert.True(answer.GetProperty("tokensPerSecond").GetDouble() > 0);
            // 2 per hour for 0.36 s over 4 tokens.
            Assert.Equal(50, answer.GetProperty("costPerMillionTokens").GetDouble(), 1e-9);
        }

        string refused = (await PostAsync(
            cluster, "/api/v1/inference:compare",
            new { models = new[] { "fox", "fox" }, sampling = new { n = 2 } }, HttpStatusCode.BadRequest)).ToString();
        Assert.Contains("'fox' is named 2 times", refused, StringComparison.Ordinal);
        Assert.Contains("either a prompt or messages", refused, StringComparison.Ordinal);
        Assert.Contains("sampling.n", refused, StringComparison.Ordinal);
    }

    private static async Task<JsonElement> PostAsync(ScriptedCluster cluster, string path, object body, HttpStatusCode expected)
    {
        using var http = new HttpClient();
        using var response = await http.PostAsJsonAsync(cluster.Http + path, body, Cancellation);
        string text = await response.Content.ReadAsStringAsync(Cancellation);
        Assert.True(expected == response.StatusCode, $"{(int)response.StatusCode}: {text}");
        return JsonDocument.Parse(text).RootElement;
    }
}
