using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Xunit;

namespace Platform.Gateway.Tests;

/// <summary>Adapters as models of their own.</summary>
public sealed class AdapterTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task An_adapter_is_listed_beside_its_parent_and_asked_for_by_its_name()
    {
        await using var cluster = await ScriptedCluster.StartAsync();
        var replica = await cluster.AddReplicaAsync();
        await cluster.DeployAsync("fox", [replica.Address], adapters: ["support-bot", "poet"]);
        using var http = new HttpClient();
        using var models = JsonDocument.Parse(await http.GetStringAsync($"{cluster.Http}/v1/models", Cancellation));
        Assert.Equal(
            ["fox of ", "poet of fox", "support-bot of fox"],
            models.RootElement.GetProperty("data").EnumerateArray().Select(card =>
                $"{card.GetProperty("id").GetString()} of {(card.TryGetProperty("parent", out var parent) ? parent.GetString() : "")}"));
        using var card = JsonDocument.Parse(await http.GetStringAsync($"{cluster.Http}/v1/models/poet", Cancellation));
        Assert.Equal("fox", card.RootElement.GetProperty("parent").GetString());

        foreach (var (path, body) in new (string, object)[]
        {
            ("completions", new { model = "support-bot", prompt = "the quick", max_tokens = 2 }),
            ("chat/completions", new { model = "support-bot", messages = new[] { new { role = "user", content = "hi" } }, max_tokens = 2 }),
            ("embeddings", new { model = "support-bot", input = "the quick" }),
        })
        {
            using var response = await http.PostAsJsonAsync($"{cluster.Http}/v1/{path}", body, Cancellation);
            using var answer = JsonDocument.Parse(await response.Content.ReadAsStringAsync(Cancellation));
            Assert.Equal("support-bot", answer.RootElement.GetProperty("model").GetString());
        }

        Assert.All(replica.Requests, request => Assert.Equal(("fox", "support-bot"), (request.Model, request.Adapter)));
        Assert.Equal(2, replica.Requests.Count);

        using var unknown = await http.PostAsJsonAsync($"{cluster.Http}/v1/completions", new { model = "nobody", prompt = "x" }, Cancellation);
        Assert.Equal(HttpStatusCode.NotFound, unknown.StatusCode);
        Assert.Contains("deployed are fox, poet, support-bot", await unknown.Content.ReadAsStringAsync(Cancellation), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_stream_that_moves_to_another_replica_keeps_its_adapter()
    {
        await using var cluster = await ScriptedCluster.StartAsync();
        var first = await cluster.AddReplicaAsync();
        var second = await cluster.AddReplicaAsync();
        await cluster.DeployAsync("fox", [first.Address, second.Address], adapters: ["poet"]);
        first.DieAfter = second.DieAfter = 2;
        using var http = new HttpClient();
        var request = http.PostAsJsonAsync($"{cluster.Http}/v1/completions", new { model = "poet", prompt = "the quick", max_tokens = 5 }, Cancellation);
        while (first.Requests.IsEmpty || second.Requests.IsEmpty)
            await Task.Yield();
        first.DieAfter = second.DieAfter = null;
        using var response = await request;
        Assert.All(first.Requests.Concat(second.Requests), moved => Assert.Equal("poet", moved.Adapter));
    }

    [Fact]
    public async Task A_deployment_keeps_its_name_when_another_ones_adapter_has_it_too()
    {
        await using var cluster = await ScriptedCluster.StartAsync();
        var replica = await cluster.AddReplicaAsync("fox");
        var other = await cluster.AddReplicaAsync("dog");
        await cluster.DeployAsync("dog", [other.Address], adapters: ["fox"]);
        using var http = new HttpClient();
        using var response = await http.PostAsJsonAsync($"{cluster.Http}/v1/completions", new { model = "fox", prompt = "the quick", max_tokens = 2 }, Cancellation);
        Assert.Equal("", Assert.Single(replica.Requests).Adapter);
        Assert.Empty(other.Requests);
    }
}
