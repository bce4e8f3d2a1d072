using Grpc.Core;
using Platform.Internal.V1;
using static Platform.Serving.Tests.Service.RunningReplica;

namespace Platform.Serving.Tests.Service;

public sealed class EmbeddingTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("mean")]
    [InlineData("last")]
    public async Task Embeddings_are_those_of_the_scalar_forward_pass_whatever_else_is_computed(string pooling)
    {
        int[][] inputs = [Prompt(1, 1), Prompt(50, 2), Prompt(50, 2), Prompt(33, 3)];
        var request = new EngineEmbedRequest { Pooling = pooling };
        request.Inputs.AddRange(inputs.Select(input => new Prompt { TokenIds = { input } }));
        await using var replica = await StartAsync();
        var together = await replica.Client.EmbedAsync(request, cancellationToken: Cancel);
        Assert.Equal(inputs.Sum(input => input.Length), together.Usage.PromptTokens);
        await using var chunked = await StartAsync("--max-num-batched-tokens", "20", "--max-num-seqs", "16");
        var scalar = new ScalarForward(replica.Model);
        for (var i = 0; i < inputs.Length; i++)
        {
            var expected = Pooled(scalar.Hidden(inputs[i]), pooling);
            Assert.All(expected.Zip(together.Embeddings[i].Values), pair => Assert.Equal(pair.First, pair.Second, 1e-4));
            var alone = await chunked.Client.EmbedAsync(new EngineEmbedRequest { Pooling = pooling, Inputs = { request.Inputs[i] } }, cancellationToken: Cancel);
            Assert.Equal(together.Embeddings[i].Values, alone.Embeddings[0].Values);
        }
    }

    [Fact]
    public async Task A_wrong_pooling_is_refused()
    {
        await using var replica = await StartAsync();
        var refusal = await Assert.ThrowsAsync<RpcException>(async () => await replica.Client.EmbedAsync(
            new EngineEmbedRequest { Pooling = "max", Inputs = { new Prompt { TokenIds = { 1 } } } }, cancellationToken: Cancel));
        Assert.Equal(StatusCode.InvalidArgument, refusal.StatusCode);
    }

    private static double[] Pooled(double[][] states, string pooling)
    {
        var sum = pooling == "last" ? states[^1] : [.. Enumerable.Range(0, states[0].Length).Select(d => states.Average(state => state[d]))];
        var length = Math.Sqrt(sum.Sum(x => x * x));
        return [.. sum.Select(x => x / length)];
    }
}
