using Google.Protobuf;
using Grpc.Core;
using Grpc.Net.Client;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Logging.Abstractions;
using Platform.Core.Gangs;
using Platform.Hosting.Bus;
using Platform.Hosting.Network;
using Platform.V1;

namespace Platform.Scheduler.Tests.Fixtures;

/// <summary>A scheduler over a database of its own, with fake agents; everything is gone when it is disposed.</summary>
internal sealed class TestCluster : IAsyncDisposable
{
    private readonly string directory = Directory.CreateTempSubdirectory("scheduler-test-").FullName;
    private readonly List<FakeAgent> agents = [];
    private readonly List<(WebApplication App, GrpcChannel Channel)> schedulers = [];
    private readonly string[] database;
    private readonly string[] options;

    private TestCluster(string[]? database, IMessageBus? bus, string[] options)
    {
        this.options = options;
        Bus = bus ?? MassTransitBus.InMemory(NullLoggerFactory.Instance);
        this.database = database ?? ["--Database:Provider", "sqlite", "--Database:ConnectionString", $"Data Source={Path.Combine(directory, "scheduler.db")}"];
        ArtifactRoot = Path.Combine(directory, "artifacts");
        DataFile = Path.Combine(directory, "data.txt");
        File.WriteAllText(DataFile, "text");
    }

    public static TimeSpan Patience { get; } = TimeSpan.FromSeconds(60);

    public IMessageBus Bus { get; }

    public string ArtifactRoot { get; }

    public string DataFile { get; }

    public GrpcChannel Channel => schedulers[^1].Channel;

    public JobService.JobServiceClient Jobs => new(Channel);

    public ModelService.ModelServiceClient Models => new(Channel);

    public DeploymentService.DeploymentServiceClient Deployments => new(Channel);

    public ClusterService.ClusterServiceClient Nodes => new(Channel);

    public static async Task<TestCluster> StartAsync(int nodes = 2, int devices = 4, string[]? database = null, IMessageBus? bus = null, string[]? options = null)
    {
        var cluster = new TestCluster(database, bus, options ?? []);
        if (cluster.Bus is MassTransitBus transport)
        {
            await transport.StartAsync(CancellationToken.None);
        }

        await cluster.StartSchedulerAsync();
        for (int n = 0; n < nodes; n++)
        {
            await cluster.AddAgentAsync($"n{n}", devices);
        }

        return cluster;
    }

    public FakeAgent Agent(string node) => agents.Single(agent => agent.Node == node && !agent.Dead);

    public async Task<FakeAgent> AddAgentAsync(string node, int devices)
    {
        var agent = await FakeAgent.StartAsync(node, devices, Bus, () => Channel, CancellationToken.None);
        agents.Add(agent);
        return agent;
    }

    /// <summary>Starts another scheduler process on the same database.</summary>
    public async Task<GrpcChannel> StartSchedulerAsync(bool waitUntilLeading = true)
    {
        var app = SchedulerApplication.Build(
            [
                .. database, "--Artifacts:Root", ArtifactRoot, "--Scheduler:Listen", "127.0.0.1:0", "--Scheduler:MetricsListen", "127.0.0.1:0",
                "--Scheduler:LeaseSeconds", "3", "--Scheduler:LeaseSkewSeconds", "0.3", "--Scheduler:LeaderLeaseSeconds", "5",
                "--Scheduler:TickSeconds", "0.05", "--Scheduler:BackoffSeconds", "0.1", "--Scheduler:PrepareSeconds", "10", "--Logging:LogLevel:Default", "Warning",
                .. options,
            ],
            builder => builder.Services.UseSharedBus(Bus));
        await app.StartAsync();
        var channel = GrpcChannels.Connect(app.Address(SchedulerApplication.GrpcListener));
        schedulers.Add((app, channel));
        if (waitUntilLeading)
        {
            await UntilAsync(async () => await TryAsync(() => new ClusterService.ClusterServiceClient(channel).ListQueuesAsync(new ListQueuesRequest()).ResponseAsync));
        }

        return channel;
    }

    /// <summary>Ends the oldest scheduler process.</summary>
    public async Task StopSchedulerAsync()
    {
        var (app, channel) = schedulers[0];
        schedulers.RemoveAt(0);
        await app.StopAsync();
        await app.DisposeAsync();
        channel.Dispose();
    }

    public string MetricsAddress => schedulers[^1].App.Address(SchedulerApplication.MetricsListener);

    public JobSpec Spec(string name = "lm", string parallelism = """{"tensor":2,"pipeline":2,"data":2,"micro_batch_size":1}""", string extra = "") => JsonParser.Default.Parse<JobSpec>(
        $$"""
        {"kind":"TrainingJob","name":"{{name}}",
         "model":{"architecture":"llama","hidden_size":32,"intermediate_size":64,"num_hidden_layers":4,"num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":64},
         "data":{"source":["{{DataFile}}"],"tokenizer":{"byte":true},"sequence_length":32},
         "parallelism":{{parallelism}},
         "training":{"steps":100,"global_batch_size":8,"precision":"fp32"}{{extra}}}
        """);

    public async Task<Job> CreateAsync(JobSpec spec, string requestId = "") =>
        await Jobs.CreateJobAsync(new CreateJobRequest { Parent = "projects/default", Spec = spec, RequestId = requestId });

    /// <summary>Waits until a job is as expected; the last state seen is in the message when it does not come to that.</summary>
    public async Task<Job> WaitForAsync(string name, Func<Job, bool> expected)
    {
        using var patience = new CancellationTokenSource(Patience);
        Job? last = null;
        try
        {
            while (true)
            {
                try
                {
                    using var watch = Jobs.WatchJob(new WatchJobRequest { Name = name }, cancellationToken: patience.Token);
                    await foreach (var update in watch.ResponseStream.ReadAllAsync(patience.Token))
                    {
                        if (expected(last = update.Job))
                        {
                            return last;
                        }
                    }

                    throw new InvalidOperationException($"The job ended otherwise than expected: {last}");
                }
                catch (RpcException exception) when (exception.StatusCode == StatusCode.Unavailable && !patience.IsCancellationRequested)
                {
                    // Another scheduler is taking over.
                }
            }
        }
        catch (Exception exception) when (exception is OperationCanceledException or RpcException)
        {
            throw new TimeoutException($"The job did not come to what is expected; last seen: {last}", exception);
        }
    }

    public Task<Job> WaitForAsync(string name, JobState state) => WaitForAsync(name, job => job.State == state);

    public static string GangOf(Job job) => $"jobs/{job.Name.Split('/')[^1]}";

    public static async Task UntilAsync(Func<Task<bool>> condition)
    {
        using var patience = new CancellationTokenSource(Patience);
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(20));
        while (!await condition())
        {
            await timer.WaitForNextTickAsync(patience.Token);
        }
    }

    public static async Task<bool> TryAsync(Func<Task> call)
    {
        try
        {
            await call();
            return true;
        }
        catch (RpcException)
        {
            return false;
        }
    }

    public async Task SucceedAllAsync(Job job)
    {
        foreach (string node in job.Ranks.Select(rank => rank.Node).Distinct())
        {
            await Agent(node).SucceedAsync(GangOf(job));
        }
    }

    public static GangFailure RankExit(int rank) => new() { Code = FailureCode.RankExited, Message = $"Rank {rank} was killed.", Rank = rank, LogTail = ["last line"] };

    public async ValueTask DisposeAsync()
    {
        foreach (var agent in agents)
        {
            await agent.DisposeAsync();
        }

        while (schedulers.Count > 0)
        {
            await StopSchedulerAsync();
        }

        if (Bus is IAsyncDisposable disposable)
        {
            await disposable.DisposeAsync();
        }

        Microsoft.Data.Sqlite.SqliteConnection.ClearAllPools();
        Directory.Delete(directory, recursive: true);
    }
}
