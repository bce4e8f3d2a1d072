using Grpc.Core;
using Platform.Internal.V1;
using Platform.V1;
using Platform.Serving.Engine;
using static Platform.Serving.Tests.Service.RunningReplica;

namespace Platform.Serving.Tests.Service;

public sealed class AdapterServiceTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Requests_of_one_batch_use_the_adapters_they_name()
    {
        using var adapters = new Adapters();
        await using var replica = await StartAsync("--lora-modules", $"bot={adapters.First},poet={adapters.Second}");
        string[] names = ["", "bot", "poet"];
        ScalarForward[] forwards = [new(replica.Model), new(adapters.Merged(0)), new(adapters.Merged(1))];
        var requests = Enumerable.Range(0, 12).Select(i => With(Request(Prompt(5 + i, i), new SamplingParams { Temperature = 0, MaxTokens = 8, IgnoreEos = true }), names[i % 3])).ToList();
        var found = await Task.WhenAll(requests.Select(replica.GenerateAsync));
        for (var i = 0; i < found.Length; i++)
            Assert.Equal(forwards[i % 3].Greedy([.. requests[i].PromptTokens], 8), found[i].Only);

        // A stream that another replica began goes on with its adapter.
        var rest = await replica.GenerateAsync(With(Request(requests[1].PromptTokens, new SamplingParams { Temperature = 0, MaxTokens = 8, IgnoreEos = true }, [.. found[1].Only[..3]]), "bot"));
        Assert.Equal(found[1].Only[3..], rest.Only);

        var description = await replica.Client.DescribeAsync(new DescribeRequest(), cancellationToken: Cancel);
        Assert.Equal(["bot", "poet"], description.Adapters);
        var logits = await replica.Client.LogitsAsync(new LogitsRequest { Adapter = "poet", Prompts = { new Prompt { TokenIds = { Prompt(7, 1) } } } }, cancellationToken: Cancel);
        Assert.True(forwards[2].Logits(Prompt(7, 1)).Zip(logits.Rows[0].Values, (a, b) => Math.Abs(a - b)).Max() < 1e-4);
    }

    [Fact]
    public async Task The_gauge_of_adapters_names_those_in_use()
    {
        using var adapters = new Adapters();
        await using var replica = await StartAsync("--lora-modules", $"bot={adapters.First},poet={adapters.Second}", "--max-num-seqs", "1", "--name", "gauged");
        using (var first = replica.Client.Generate(With(Request(Prompt(3, 1), new SamplingParams { MaxTokens = 150, IgnoreEos = true }).For(""), "bot"), cancellationToken: Cancel))
        using (var second = replica.Client.Generate(With(Request(Prompt(3, 1), new SamplingParams { MaxTokens = 150, IgnoreEos = true }).For(""), "poet"), cancellationToken: Cancel))
        {
            Assert.True(await first.ResponseStream.MoveNext(Cancel));
            Assert.True(await second.ResponseStream.MoveNext(Cancel));
        }

        await replica.WaitAsync(description => description.Running + description.Waiting == 0);
        string idle;
        do
        {
            idle = await replica.MetricsAsync();
        }
        while (!idle.Contains("platform_serving_lora_requests_info{model_name=\"gauged\",max_lora=\"2\",running_lora_adapters=\"\",waiting_lora_adapters=\"\"}", StringComparison.Ordinal));
        Assert.Contains("vllm:lora_requests_info{", idle, StringComparison.Ordinal);
        Assert.Single(idle.Split('\n'), line => line.StartsWith("platform_serving_lora_requests_info{model_name=\"gauged\"", StringComparison.Ordinal));
    }

    [Fact]
    public async Task An_adapter_that_is_not_there_is_named_in_the_refusal()
    {
        await using var replica = await StartAsync();
        var refusal = await Assert.ThrowsAsync<RpcException>(() => replica.GenerateAsync(With(Request([1], new SamplingParams()), "bot")));
        Assert.Equal(StatusCode.NotFound, refusal.StatusCode);
        Assert.Contains("adapter 'bot'", refusal.Status.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_adapter_of_another_model_keeps_the_replica_from_starting_with_all_reasons()
    {
        var path = Directory.CreateTempSubdirectory("serving-test-").FullName;
        try
        {
            new TinyAdapter(TinyModel.Shape with { HiddenSize = 96 }, 1, targets: "q_proj").Write(Path.Combine(path, "wide"));
            new TinyAdapter(TinyModel.Shape, 1, rank: 80, targets: "q_proj").Write(Path.Combine(path, "high"));
            var refusal = await Assert.ThrowsAsync<ReplicaSettingsException>(() => StartAsync("--lora-modules", $"wide={path}/wide,high={path}/high"));
            Assert.Contains("engine_config.lora.adapters[0]", refusal.Message, StringComparison.Ordinal);
            Assert.Contains("found shape [4, 96]; with rank 4 on this base model [4, 48] is expected (the adapter was made for 'somewhere/tiny')", refusal.Message, StringComparison.Ordinal);
            Assert.Contains("the adapter's rank is 80; at most 64 is allowed here", refusal.Message, StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(path, recursive: true);
        }
    }

    private static EngineGenerateRequest With(EngineGenerateRequest request, string adapter)
    {
        request.Adapter = adapter;
        return request;
    }

    private sealed class Adapters : IDisposable
    {
        private readonly string _path = Directory.CreateTempSubdirectory("serving-test-").FullName;
        private readonly TinyAdapter[] _adapters = [new(TinyModel.Shape, 31, 4), new(TinyModel.Shape, 32, 6, 9, "v_proj", "gate_proj", "down_proj")];

        public string First => _adapters[0].Write(Path.Combine(_path, "1"));

        public string Second => _adapters[1].Write(Path.Combine(_path, "2"));

        public TinyModel Merged(int adapter) => _adapters[adapter].MergedInto(new TinyModel(TinyModel.Shape, 4));

        public void Dispose() => Directory.Delete(_path, recursive: true);
    }
}
