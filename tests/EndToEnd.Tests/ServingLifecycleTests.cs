using System.Collections.Concurrent;
using Grpc.Core;
using Platform.EndToEnd.Tests.Harness;
using Platform.Serving.Tests;
using Platform.Testing;
using Platform.V1;
using Xunit;

#pragma warning disable xUnit1069 // The tests get the token through Cancellation.

namespace Platform.EndToEnd.Tests;

/// <summary>Deployments grow, fall asleep, wake and change their model under requests that must not notice.</summary>
public sealed class ServingLifecycleTests
{
    private const int Tokens = 10;

    private static readonly int[] Prompt = [.. Enumerable.Range(0, 12).Select(i => ((i * 37) + 5) % 200)];

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact(Timeout = 300_000)]
    public async Task A_deployment_grows_with_its_requests_falls_asleep_and_wakes_for_the_next_one()
    {
        using var directory = new TemporaryDirectory();
        await using var server = await StandaloneServer.StartAsync(directory.Sub("data"), Cancellation);
        var model = await ImportAsync(server, directory, seed: 17);
        int[] expected = [.. new ScalarForward(model).Greedy(Prompt, Tokens)];
        await DeployAsync(server, directory.Write("deployment.yaml", """
            kind: Deployment
            model: changing
            deployment_config:
              autoscaling: { min_replicas: 0, initial_replicas: 1, max_replicas: 2, target_ongoing_requests: 3, upscale_delay_s: 0.5, downscale_delay_s: 1 }
            engine_config: { kv_cache_bytes: 8MiB, dtype: fp32 }
            """));

        using (var enough = CancellationTokenSource.CreateLinkedTokenSource(Cancellation))
        {
            var callers = Enumerable.Range(0, 6).Select(_ => AskUntilAsync(server, enough.Token)).ToList();
            await WatchAsync(server, deployment => deployment.ReadyReplicas == 2);
            await enough.CancelAsync();
            Assert.All(await Task.WhenAll(callers), answers => Assert.All(answers, answer => Assert.Equal(expected, answer)));
        }

        await WatchAsync(server, deployment => deployment.State == DeploymentState.Asleep);
        Assert.Equal(expected, await AskAsync(server, Cancellation));
    }

    [Fact(Timeout = 300_000)]
    public async Task A_new_version_of_the_model_takes_over_without_a_failed_request()
    {
        using var directory = new TemporaryDirectory();
        await using var server = await StandaloneServer.StartAsync(directory.Sub("data"), Cancellation);
        int[] before = [.. new ScalarForward(await ImportAsync(server, directory, seed: 17)).Greedy(Prompt, Tokens)];
        string deployment = directory.Write("deployment.yaml", """
            kind: Deployment
            model: changing
            engine_config: { kv_cache_bytes: 8MiB, dtype: fp32 }
            """);
        await DeployAsync(server, deployment);
        int[] after = [.. new ScalarForward(await ImportAsync(server, directory, seed: 18)).Greedy(Prompt, Tokens)];
        Assert.NotEqual(before, after);
        Assert.Equal(before, await AskAsync(server, Cancellation));

        using var enough = CancellationTokenSource.CreateLinkedTokenSource(Cancellation);
        var callers = Enumerable.Range(0, 4).Select(_ => AskUntilAsync(server, enough.Token)).ToList();
        await DeployAsync(server, deployment);
        int[] answer;
        do
        {
            Assert.DoesNotContain(callers, caller => caller.IsFaulted);
            answer = await AskAsync(server, Cancellation);
        }
        while (!Enumerable.SequenceEqual(answer, after));
        await WatchAsync(server, changed => changed.Replicas.Count == 1 && changed.State == DeploymentState.Ready);
        Assert.Equal(after, await AskAsync(server, Cancellation));
        await enough.CancelAsync();
        foreach (var answers in await Task.WhenAll(callers))
        {
            Assert.NotEmpty(answers);
            Assert.All(answers, tokens => Assert.True(tokens.SequenceEqual(before) || tokens.SequenceEqual(after), string.Join(", ", tokens)));
        }
    }

    private static async Task<TinyModel> ImportAsync(StandaloneServer server, TemporaryDirectory directory, int seed)
    {
        var model = new TinyModel(TinyModel.Shape, seed);
        string files = directory.Sub($"seed-{seed}");
        model.Write(files);
        var (code, output) = await server.CliAsync(Cancellation, "models", "import", files, "--name", "changing");
        Assert.True(code == 0, output);
        return model;
    }

    private static async Task DeployAsync(StandaloneServer server, string file)
    {
        var (code, output) = await server.CliAsync(Cancellation, "deploy", file, "--watch");
        Assert.True(code == 0, output);
    }

    private static async Task WatchAsync(StandaloneServer server, Func<Deployment, bool> reached)
    {
        var deployments = new DeploymentService.DeploymentServiceClient(server.Channel);
        using var watch = deployments.WatchDeployment(
            new WatchDeploymentRequest { Name = "projects/default/deployments/changing" }, cancellationToken: Cancellation);
        await foreach (var response in watch.ResponseStream.ReadAllAsync(Cancellation))
        {
            if (reached(response.Deployment))
                return;
        }
    }

    /// <summary>Asks again and again until told to stop; a request that fails fails the task.</summary>
    private static async Task<IReadOnlyCollection<int[]>> AskUntilAsync(StandaloneServer server, CancellationToken enough)
    {
        var answers = new ConcurrentQueue<int[]>();
        while (!enough.IsCancellationRequested)
            answers.Enqueue(await AskAsync(server, Cancellation));
        return answers;
    }

    private static async Task<int[]> AskAsync(StandaloneServer server, CancellationToken cancellation)
    {
        var request = new GenerateRequest
        {
            Model = "changing",
            PromptTokens = new TokenIds { Ids = { Prompt } },
            Sampling = new SamplingParams { Temperature = 0, MaxTokens = Tokens, IgnoreEos = true },
        };
        using var call = new InferenceService.InferenceServiceClient(server.Channel).Generate(request, cancellationToken: cancellation);
        var tokens = new List<int>();
        await foreach (var response in call.ResponseStream.ReadAllAsync(cancellation))
            tokens.AddRange(response.TokenIds);
        return [.. tokens];
    }
}
