using Grpc.Core;
using Grpc.Net.Client;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Logging;
using Platform.Hosting.Network;
using Platform.Internal.V1;
using Platform.V1;

namespace Platform.Serving.Tests.Service;

/// <summary>A replica of a tiny model in this process, over real sockets.</summary>
internal sealed class RunningReplica : IAsyncDisposable
{
    private readonly string _directory;
    private readonly GrpcChannel _channel;

    private RunningReplica(string directory, WebApplication app, TinyModel model)
    {
        _directory = directory;
        App = app;
        Model = model;
        _channel = GrpcChannel.ForAddress(app.Address(ServingApplication.EngineListener));
        Client = new EngineService.EngineServiceClient(_channel);
    }

    public WebApplication App { get; }

    public TinyModel Model { get; }

    public EngineService.EngineServiceClient Client { get; }

    public static async Task<RunningReplica> StartAsync(params string[] options)
    {
        var directory = Directory.CreateTempSubdirectory("serving-test-").FullName;
        var model = new TinyModel(TinyModel.Shape, 4);
        model.Write(directory);
        string[] args = ["--model", directory, "--name", "tiny", "--dtype", "fp32", "--threads", "2", .. options];
        var app = ServingApplication.Build(args, builder => builder.Logging.ClearProviders());
        await app.StartAsync(TestContext.Current.CancellationToken);
        return new RunningReplica(directory, app, model);
    }

    public static EngineGenerateRequest Request(IEnumerable<int> prompt, SamplingParams sampling, params int[] produced)
    {
        var request = new EngineGenerateRequest { Model = "tiny", RequestId = "r", Tenant = "t", Sampling = sampling };
        request.PromptTokens.AddRange(prompt);
        request.ProducedTokens.AddRange(produced);
        return request;
    }

    public static int[] Prompt(int length, int seed) => Execution.ExecutorFixture.Prompt(length, seed);

    public async Task<Output> GenerateAsync(EngineGenerateRequest request)
    {
        using var call = Client.Generate(request, cancellationToken: TestContext.Current.CancellationToken);
        var output = new Output();
        await foreach (var response in call.ResponseStream.ReadAllAsync(TestContext.Current.CancellationToken))
            output.Add(response);
        return output;
    }

    public async Task<string> MetricsAsync()
    {
        using var http = new HttpClient();
        return await http.GetStringAsync(new Uri($"{App.Address(ServingApplication.MetricsListener)}/metrics"), TestContext.Current.CancellationToken);
    }

    public async Task WaitAsync(Func<DescribeResponse, bool> condition)
    {
        while (!condition(await Client.DescribeAsync(new DescribeRequest(), cancellationToken: TestContext.Current.CancellationToken)))
            await Task.Yield();
    }

    public async ValueTask DisposeAsync()
    {
        _channel.Dispose();
        await App.StopAsync();
        await App.DisposeAsync();
        Directory.Delete(_directory, recursive: true);
    }
}

/// <summary>What a stream said, by choice.</summary>
internal sealed class Output
{
    public SortedDictionary<int, List<int>> Tokens { get; } = [];

    public SortedDictionary<int, string> Texts { get; } = [];

    public SortedDictionary<int, string> Reasons { get; } = [];

    public List<TokenLogprobs> Logprobs { get; } = [];

    public Usage? Usage { get; private set; }

    public List<int> Only => Assert.Single(Tokens).Value;

    public string Text => Assert.Single(Texts).Value;

    public string Reason => Assert.Single(Reasons).Value;

    public void Add(EngineGenerateResponse response)
    {
        Assert.Null(Usage);
        Assert.False(Reasons.ContainsKey(response.Choice), "A choice went on after its end.");
        var tokens = Tokens.TryGetValue(response.Choice, out var known) ? known : Tokens[response.Choice] = [];
        FirstIndex ??= response.FirstIndex;
        Assert.Equal(tokens.Count + (Tokens.Count == 1 ? FirstIndex.GetValueOrDefault() : 0), response.FirstIndex);
        tokens.AddRange(response.TokenIds);
        Texts[response.Choice] = Texts.GetValueOrDefault(response.Choice, "") + response.Text;
        Logprobs.AddRange(response.Logprobs);
        if (response.FinishReason.Length > 0)
            Reasons.Add(response.Choice, response.FinishReason);
        Usage = response.Usage;
    }

    public int? FirstIndex { get; private set; }
}
