using Google.Rpc;
using Grpc.Core;
using Platform.Hosting.Configuration;
using Platform.Internal.V1;
using Platform.Serving.Engine;
using Platform.V1;
using static Platform.Serving.Tests.Service.RunningReplica;

namespace Platform.Serving.Tests.Service;

public sealed class RefusalTests
{
    [Fact]
    public async Task Every_wrong_field_is_named_at_once()
    {
        await using var replica = await StartAsync();
        var sampling = new SamplingParams { Temperature = -1, TopP = 0, MaxTokens = 0, N = 0, Stop = { "" }, StopTokenIds = { 272 } };
        var refusal = await RefusalAsync(replica, Request([], sampling));
        Assert.Equal(StatusCode.InvalidArgument, refusal.StatusCode);
        var fields = refusal.GetRpcStatus()?.GetDetail<BadRequest>()?.FieldViolations.Select(violation => violation.Field).Order();
        Assert.Equal(
            new[] { "prompt_tokens", "sampling.temperature", "sampling.top_p", "sampling.max_tokens", "sampling.n", "sampling.stop", "sampling.stop_token_ids" }.Order(),
            fields);
    }

    [Theory]
    [InlineData(150, 20, "170 tokens")]
    [InlineData(160, 0, "161 tokens")]
    public async Task A_request_longer_than_the_context_is_refused_with_both_numbers(int length, int maxTokens, string message)
    {
        await using var replica = await StartAsync();
        var sampling = maxTokens == 0 ? new SamplingParams() : new SamplingParams { MaxTokens = maxTokens };
        var refusal = await RefusalAsync(replica, Request(Prompt(length, 1), sampling));
        Assert.Equal(StatusCode.InvalidArgument, refusal.StatusCode);
        Assert.Contains(message, refusal.Status.Detail, StringComparison.Ordinal);
        Assert.Contains("context is 160", refusal.Status.Detail, StringComparison.Ordinal);
        Assert.Equal(0, (await replica.Client.DescribeAsync(new DescribeRequest(), cancellationToken: TestContext.Current.CancellationToken)).Waiting);
    }

    [Fact]
    public async Task A_request_for_another_model_is_refused()
    {
        await using var replica = await StartAsync();
        var request = Request([1], new SamplingParams());
        request.Model = "other";
        Assert.Equal(StatusCode.NotFound, (await RefusalAsync(replica, request)).StatusCode);
    }

    [Fact]
    public void Settings_that_do_not_fit_are_refused_by_key()
    {
        using var directory = new TemporaryDirectory();
        new TinyModel(TinyModel.Shape, 1).Write(directory.Path);
        Assert.Contains("block_size", Refused("--block-size", "20"), StringComparison.Ordinal);
        Assert.Contains("max_num_batched_tokens", Refused("--max-num-batched-tokens", "4"), StringComparison.Ordinal);
        Assert.Contains("kv_cache_bytes", Refused("--kv-cache-bytes", "1KiB"), StringComparison.Ordinal);
        Assert.Contains("int8", Refused("--dtype", "int4"), StringComparison.Ordinal);

        string Refused(params string[] options) => Assert.Throws<ReplicaSettingsException>(
            () => ServingApplication.Build(["--model", directory.Path, .. options], null)).Message;
    }

    [Fact]
    public void A_wrong_command_line_is_reported_whole()
    {
        var message = Assert.Throws<InvalidConfigurationException>(() => ServingApplication.Build(["--treads", "2", "--listen", "here"], null)).Message;
        Assert.Contains("--treads", message, StringComparison.Ordinal);
        Assert.Contains("--listen", message, StringComparison.Ordinal);
        Assert.Contains("--model", message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_damaged_model_is_refused_by_file()
    {
        using var directory = new TemporaryDirectory();
        new TinyModel(TinyModel.Shape, 1).Write(directory.Path);
        var shard = Path.Combine(directory.Path, "model-00002-of-00003.safetensors");
        File.WriteAllBytes(shard, File.ReadAllBytes(shard)[..^8]);
        var message = Assert.ThrowsAny<FormatException>(() => ServingApplication.Build(["--model", directory.Path], null)).Message;
        Assert.Contains("model-00002-of-00003.safetensors", message, StringComparison.Ordinal);
    }

    private static async Task<RpcException> RefusalAsync(RunningReplica replica, EngineGenerateRequest request) =>
        await Assert.ThrowsAsync<RpcException>(() => replica.GenerateAsync(request));

    private sealed class TemporaryDirectory : IDisposable
    {
        public string Path { get; } = Directory.CreateTempSubdirectory("serving-test-").FullName;

        public void Dispose() => Directory.Delete(Path, recursive: true);
    }
}
