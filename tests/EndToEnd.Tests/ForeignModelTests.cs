using Grpc.Core;
using Platform.EndToEnd.Tests.Harness;
using Platform.Serving.Tests;
using Platform.Testing;
using Platform.V1;
using Xunit;

#pragma warning disable xUnit1069 // The test gets the token through Cancellation.

namespace Platform.EndToEnd.Tests;

/// <summary>A Hugging Face directory that the platform did not write goes the way of its own models.</summary>
public sealed class ForeignModelTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact(Timeout = 300_000)]
    public async Task A_foreign_directory_imports_deploys_and_answers_greedily_as_a_plain_forward_pass_says()
    {
        using var directory = new TemporaryDirectory();
        var model = new TinyModel(TinyModel.Shape, seed: 17);
        string files = directory.Sub("foreign");
        model.Write(files);
        await using var server = await StandaloneServer.StartAsync(directory.Sub("data"), Cancellation);
        var imported = await server.CliAsync(Cancellation, "models", "import", files, "--name", "foreign");
        Assert.True(imported.ExitCode == 0, imported.Output);
        string deployment = directory.Write("deployment.yaml", """
            kind: Deployment
            model: foreign
            engine_config: { kv_cache_bytes: 8MiB, dtype: fp32 }
            """);
        var deployed = await server.CliAsync(Cancellation, "deploy", deployment, "--watch");
        Assert.True(deployed.ExitCode == 0, deployed.Output);

        int[] prompt = [.. Enumerable.Range(0, 12).Select(i => ((i * 37) + 5) % 200)];
        var request = new GenerateRequest
        {
            Model = "foreign",
            PromptTokens = new TokenIds { Ids = { prompt } },
            Sampling = new SamplingParams { Temperature = 0, MaxTokens = 10, IgnoreEos = true },
        };
        using var call = new InferenceService.InferenceServiceClient(server.Channel).Generate(request, cancellationToken: Cancellation);
        var tokens = new List<int>();
        await foreach (var response in call.ResponseStream.ReadAllAsync(Cancellation))
            tokens.AddRange(response.TokenIds);
        Assert.Equal(new ScalarForward(model).Greedy(prompt, 10), tokens);
    }
}
