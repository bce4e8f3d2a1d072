using Platform.Internal.V1;
using Platform.V1;
using static Platform.Serving.Tests.Service.RunningReplica;

namespace Platform.Serving.Tests.Service;

public sealed class SleepTests
{
    private static readonly SamplingParams Greedy = new() { Temperature = 0, MaxTokens = 12, IgnoreEos = true };

    [Fact]
    public async Task An_idle_model_sleeps_and_its_next_request_gets_the_same_answer_as_before()
    {
        await using var replica = await StartAsync("--sleep-after", "0.05");
        var request = Request(Prompt(40, 1), Greedy);
        var before = await replica.GenerateAsync(request);
        await replica.WaitAsync(description => description.Asleep);
        Assert.Contains("""platform_serving_engine_sleep_state{model_name="tiny",sleep_state="discard_all"} 1""", await replica.MetricsAsync(), StringComparison.Ordinal);

        var after = await replica.GenerateAsync(request);
        Assert.Equal(before.Only, after.Only);
        // The cache went with the rest, and nobody takes old blocks for known ones.
        Assert.Equal(0, after.Usage?.CachedPromptTokens);
        Assert.Contains("platform_serving_wake_seconds_count{model_name=\"tiny\"}", await replica.MetricsAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Requests_that_come_together_wake_a_model_once()
    {
        await using var replica = await StartAsync("--sleep-after", "0.05");
        var requests = Enumerable.Range(0, 8).Select(i => Request(Prompt(20 + i, i), Greedy)).ToList();
        var expected = await Task.WhenAll(requests.Select(replica.GenerateAsync));
        await replica.WaitAsync(description => description.Asleep);
        var found = await Task.WhenAll(requests.Select(replica.GenerateAsync));
        for (var i = 0; i < requests.Count; i++)
            Assert.Equal(expected[i].Only, found[i].Only);
    }

    [Fact]
    public async Task Models_that_do_not_fit_into_memory_together_take_turns()
    {
        var other = Directory.CreateTempSubdirectory("serving-test-").FullName;
        try
        {
            var second = new TinyModel(TinyModel.Shape, 9);
            second.Write(other);
            // Each takes about 4 MiB, most of it buffers.
            string[] sizes = ["--kv-cache-bytes", "2MiB", "--max-num-batched-tokens", "128", "--more-models", $"other={other}"];
            await using var replica = await StartAsync([.. sizes, "--memory", "5MiB"]);
            var prompt = Prompt(30, 3);
            var expected = (new ScalarForward(replica.Model).Greedy(prompt, 12), new ScalarForward(second).Greedy(prompt, 12));
            Assert.True((await DescribeAsync(replica, "other")).Asleep);
            for (var round = 0; round < 3; round++)
            {
                Assert.Equal(expected.Item1, (await replica.GenerateAsync(Request(prompt, Greedy))).Only);
                Assert.Equal(expected.Item2, (await replica.GenerateAsync(For("other", prompt))).Only);
                Assert.True((await DescribeAsync(replica, "")).Asleep);
                Assert.False((await DescribeAsync(replica, "other")).Asleep);
            }

            // Both at once, again and again: nobody starves.
            var both = await Task.WhenAll(Enumerable.Range(0, 12).Select(i =>
                replica.GenerateAsync(i % 2 == 0 ? Request(prompt, Greedy) : For("other", prompt))));
            for (var i = 0; i < both.Length; i++)
                Assert.Equal(i % 2 == 0 ? expected.Item1 : expected.Item2, both[i].Only);
        }
        finally
        {
            Directory.Delete(other, recursive: true);
        }
    }

    [Fact]
    public void A_model_larger_than_the_memory_is_refused()
    {
        var directory = Directory.CreateTempSubdirectory("serving-test-").FullName;
        try
        {
            new TinyModel(TinyModel.Shape, 4).Write(directory);
            var exception = Assert.Throws<Engine.ReplicaSettingsException>(() => ServingApplication.Build(
                ["--model", directory, "--dtype", "fp32", "--memory", "1MiB"], null));
            Assert.Contains("--memory: Found 1048576 bytes", exception.Message, StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    private static EngineGenerateRequest For(string model, int[] prompt)
    {
        var request = Request(prompt, Greedy);
        request.Model = model;
        return request;
    }

    private static async Task<DescribeResponse> DescribeAsync(RunningReplica replica, string model) => await replica.Client.DescribeAsync(
        new DescribeRequest { Model = model }, cancellationToken: TestContext.Current.CancellationToken);
}
