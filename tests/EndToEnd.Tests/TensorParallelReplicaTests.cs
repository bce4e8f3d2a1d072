using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Grpc.Core;
using Platform.EndToEnd.Tests.Harness;
using Platform.Serving.Tests;
using Platform.Testing;
using Platform.V1;
using Xunit;

#pragma warning disable xUnit1069 // The tests get the token through Cancellation.

namespace Platform.EndToEnd.Tests;

/// <summary>A deployment whose replica is two processes that share a model.</summary>
public sealed class TensorParallelReplicaTests
{
    private const int Tokens = 24;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact(Timeout = 300_000)]
    public async Task Two_ranks_answer_as_the_reference_does_and_heal_when_one_is_killed()
    {
        using var directory = new TemporaryDirectory();
        await using var server = await StandaloneServer.StartAsync(directory.Sub("data"), Cancellation);
        var model = new TinyModel(TinyModel.Shape, 17);
        string files = directory.Sub("model");
        model.Write(files);
        await CliAsync(server, "models", "import", files, "--name", "halves");
        await CliAsync(server, "deploy", directory.Write("deployment.yaml", """
            kind: Deployment
            model: halves
            engine_config: { kv_cache_bytes: 8MiB, dtype: fp32 }
            scaling_config: { tensor_parallel: 2 }
            """), "--watch");

        var before = Ranks(directory.Sub("data"));
        Assert.Equal([0, 1], before.Keys);
        var reference = new ScalarForward(model);
        int[][] prompts = [.. Enumerable.Range(1, 4).Select(n => Enumerable.Range(0, 11 * n).Select(i => ((i * 37) + n) % 200).ToArray())];
        int[][] expected = [.. prompts.Select(prompt => reference.Greedy(prompt, Tokens).ToArray())];
        Assert.Equal(expected, await Task.WhenAll(prompts.Select(prompt => AskAsync(server, prompt))));

        // Streams that are under way when a rank dies go on from where they were, once there is a replica again.
        using (var follower = Process.GetProcessById(before[1]))
            Assert.Equal(expected, await Task.WhenAll(prompts.Select(prompt => AskAsync(server, prompt, follower.Kill))));
        var after = Ranks(directory.Sub("data"));
        Assert.Equal([0, 1], after.Keys);
        Assert.Empty(before.Values.Intersect(after.Values));
    }

    /// <summary>Processes of replicas by their rank, found by the launch files on their command lines.</summary>
    private static SortedDictionary<int, int> Ranks(string data)
    {
        var found = new SortedDictionary<int, int>();
        foreach (string directory in Directory.GetDirectories("/proc"))
        {
            if (!int.TryParse(Path.GetFileName(directory), CultureInfo.InvariantCulture, out int id))
                continue;
            string[] command = CommandLine(directory);
            int option = Array.IndexOf(command, "--launch");
            if (option < 0 || !Path.GetFullPath(command[option + 1]).StartsWith(data, StringComparison.Ordinal))
                continue;
            using var launch = JsonDocument.Parse(File.ReadAllText(command[option + 1]));
            found.Add(launch.RootElement.GetProperty("rank").GetInt32(), id);
        }

        return found;
    }

    private static string[] CommandLine(string process)
    {
        try
        {
            return File.ReadAllText(Path.Combine(process, "cmdline")).Split('\0');
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // It ended meanwhile.
            return [];
        }
    }

    private static async Task CliAsync(StandaloneServer server, params string[] arguments)
    {
        var (code, output) = await server.CliAsync(Cancellation, arguments);
        Assert.True(code == 0, output);
    }

    private static async Task<int[]> AskAsync(StandaloneServer server, int[] prompt, Action? began = null)
    {
        var request = new GenerateRequest
        {
            Model = "halves",
            PromptTokens = new TokenIds { Ids = { prompt } },
            Sampling = new SamplingParams { Temperature = 0, MaxTokens = Tokens, IgnoreEos = true },
        };
        using var call = new InferenceService.InferenceServiceClient(server.Channel).Generate(request, cancellationToken: Cancellation);
        var tokens = new List<int>();
        await foreach (var response in call.ResponseStream.ReadAllAsync(Cancellation))
        {
            began?.Invoke();
            tokens.AddRange(response.TokenIds);
        }

        return [.. tokens];
    }
}
