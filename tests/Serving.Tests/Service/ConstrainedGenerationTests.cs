using System.Text.Json;
using System.Text.RegularExpressions;
using Grpc.Core;
using Platform.V1;
using static Platform.Serving.Tests.Service.RunningReplica;

namespace Platform.Serving.Tests.Service;

/// <summary>The model is random, so whatever form its output has comes from the constraint.</summary>
public sealed class ConstrainedGenerationTests
{
    private const string Schema = """
        {"type":"object","properties":{"name":{"type":"string","maxLength":6},"size":{"type":"integer"},"kind":{"enum":["a","bc"]}},"required":["name","size","kind"]}
        """;

    [Fact]
    public async Task An_output_satisfies_its_schema_and_is_the_same_among_others()
    {
        await using var replica = await StartAsync();
        var requests = Enumerable.Range(0, 8)
            .Select(seed => Request(Prompt(4 + seed, seed), new SamplingParams { Temperature = 1, Seed = seed, MaxTokens = 100, JsonSchema = Schema }))
            .ToList();
        var together = await Task.WhenAll(requests.Select(replica.GenerateAsync));
        for (var i = 0; i < requests.Count; i++)
        {
            Assert.Equal("stop", together[i].Reason);
            using var json = JsonDocument.Parse(together[i].Text);
            Assert.True(json.RootElement.GetProperty("name").GetString()?.EnumerateRunes().Count() <= 6);
            Assert.Equal(JsonValueKind.Number, json.RootElement.GetProperty("size").ValueKind);
            Assert.Contains(json.RootElement.GetProperty("kind").GetString(), (string[])["a", "bc"]);
            Assert.Equal((await replica.GenerateAsync(requests[i])).Text, together[i].Text);
        }
    }

    [Fact]
    public async Task An_output_matches_its_expression_greedily_and_sampled()
    {
        await using var replica = await StartAsync();
        foreach (var temperature in new[] { 0.0, 1.5 })
        {
            var output = await replica.GenerateAsync(Request(
                Prompt(5, 5), new SamplingParams { Temperature = temperature, Seed = 3, MaxTokens = 60, Regex = @"(\d{3}-){2}[a-f]{4}(é|ü)", TopK = 3, IgnoreEos = true }));
            Assert.Matches(new Regex(@"\A(\d{3}-){2}[a-f]{4}(é|ü)\z"), output.Text);
            Assert.Equal("stop", output.Reason);
        }
    }

    [Fact]
    public async Task A_stream_that_resumes_elsewhere_keeps_to_its_constraint()
    {
        await using var replica = await StartAsync();
        var sampling = new SamplingParams { Temperature = 1, Seed = 9, MaxTokens = 100, JsonSchema = Schema };
        var whole = await replica.GenerateAsync(Request(Prompt(6, 6), sampling));
        var resumed = Request(Prompt(6, 6), sampling);
        resumed.ProducedTokens.AddRange(whole.Only[..7]);
        Assert.Equal(whole.Only[7..], (await replica.GenerateAsync(resumed)).Only);
    }

    [Theory]
    [InlineData("""{"type":"integer","maximum":3}""", "maximum")]
    [InlineData("nothing", "not JSON")]
    public async Task A_schema_that_cannot_be_held_to_is_refused(string schema, string reason)
    {
        await using var replica = await StartAsync();
        var refusal = await Assert.ThrowsAsync<RpcException>(() => replica.GenerateAsync(Request(Prompt(3, 3), new SamplingParams { JsonSchema = schema })));
        Assert.Equal(StatusCode.InvalidArgument, refusal.StatusCode);
        Assert.Contains(reason, refusal.Status.Detail, StringComparison.Ordinal);
    }
}
