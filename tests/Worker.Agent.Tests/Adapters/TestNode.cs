using System.Collections.Concurrent;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Platform.Core.Gangs;
using Platform.Core.Jobs;
using Platform.Hosting.Bus;
using Platform.Testing;

namespace Platform.Worker.Agent.Tests.Adapters;

/// <summary>A running agent with a scripted scheduler and a shell script as the program of its ranks.</summary>
internal sealed class TestNode : IAsyncDisposable
{
    public const string Node = "n0";
    public const string Gang = "jobs/j";
    private const string Queue = $"node-{Node}";

    private readonly TemporaryDirectory _directory;

    private IAsyncDisposable? _receiver;

    private TestNode(TemporaryDirectory directory, SchedulerPeer scheduler, IMessageBus bus, string[] arguments)
    {
        _directory = directory;
        Scheduler = scheduler;
        Bus = bus;
        Arguments = arguments;
        App = Build();
    }

    public SchedulerPeer Scheduler { get; }

    public IMessageBus Bus { get; }

    public string[] Arguments { get; }

    /// <summary>The job of the node's gang. Metrics of a process are told apart by it, and other tests run in the same one.</summary>
    public string Job { get; set; } = "j";

    public WebApplication App { get; private set; }

    public string Root => _directory.Path;

    public string DataDirectory => _directory.File("agent");

    /// <summary>Starts an agent whose ranks run a shell script; its arguments are <c>rank --launch FILE</c>.</summary>
    public static Task<TestNode> StartAsync(string script, params string[] more) =>
        StartAsync(TimeSpan.FromSeconds(20), script, more);

    /// <summary>Starts an agent whose lease has a given length.</summary>
    public static async Task<TestNode> StartAsync(TimeSpan lease, string script, params string[] more)
    {
        SchedulerPeer scheduler = await SchedulerPeer.StartAsync();
        scheduler.Lease = lease;
        (TemporaryDirectory directory, string[] arguments) = Prepare(scheduler, script);
        var node = new TestNode(directory, scheduler, MassTransitBus.InMemory(NullLoggerFactory.Instance), [.. arguments, .. more]);
        await node.StartAsync();
        return node;
    }

    public static (TemporaryDirectory Directory, string[] Arguments) Prepare(SchedulerPeer scheduler, string script)
    {
        var directory = new TemporaryDirectory();
        string program = directory.File("rank.sh");
        File.WriteAllText(program, script);
        File.WriteAllText(directory.File("data.txt"), "text");
        string[] arguments =
        [
            "--Agent:Node", Node, "--Agent:SchedulerAddress", scheduler.Address, "--Agent:DataDirectory", directory.File("agent"),
            "--Artifacts:Root", directory.Path, "--Agent:WorkerCommand:0", "/bin/sh", "--Agent:WorkerCommand:1", program,
            "--Agent:SharedMemoryRoot", directory.Path, "--Logging:LogLevel:Default", "Warning",
        ];
        return (directory, arguments);
    }

    /// <summary>What ranks reported, as it came over the bus.</summary>
    public ConcurrentQueue<GangProgressReport> Progress { get; } = new();

    /// <summary>Wants something and says so on the bus at once; the next renewal would say it too.</summary>
    public async Task WantAsync(GangAssignment assignment)
    {
        Scheduler.Want(assignment);
        await (assignment.Phase switch
        {
            GangPhase.Prepare => Bus.SendAsync(Queue, new PrepareGang(assignment), CancellationToken.None),
            GangPhase.Start => Bus.SendAsync(Queue, new StartGang(assignment), CancellationToken.None),
            _ => Bus.SendAsync(Queue, new StopGang(assignment), CancellationToken.None),
        });
    }

    /// <summary>Ends the agent and starts it again with the same data.</summary>
    public async Task RestartAsync()
    {
        await App.StopAsync();
        await App.DisposeAsync();
        App = Build();
        await App.StartAsync();
    }


    public static GangAssignment Assignment(string root, GangPhase phase, int ranks = 1, int attempt = 1, double grace = 5) => new()
    {
        Node = Node,
        Gang = Gang,
        Attempt = attempt,
        Epoch = 1,
        Phase = phase,
        Ranks = [.. Enumerable.Range(0, ranks).Select(r => new RankPlacement(r, [r], 1000))],
        WorldSize = ranks,
        HostsRendezvous = ranks > 1,
        Token = "secret",
        Kind = WorkloadKind.Training,
        Workload = JobSpecWriter.ToJson(new TrainingJobSpec
        {
            Name = "j",
            Model = new ModelSpec
            {
                HiddenSize = 64,
                IntermediateSize = 128,
                NumHiddenLayers = 2,
                NumAttentionHeads = 4,
                NumKeyValueHeads = 4,
                MaxPositionEmbeddings = 64,
            },
            Data = new DataSpec { Source = [Path.Combine(root, "data.txt")], SequenceLength = 32 },
            Training = new TrainingSpec { Steps = 1, GlobalBatchSize = 1 },
            Parallelism = new ParallelismSpec { MicroBatchSize = 1 },
        }).ToJsonString(),
        StopGraceSeconds = grace,
    };

    public GangAssignment Assignment(GangPhase phase, int ranks = 1, int attempt = 1, double grace = 5) =>
        Assignment(Root, phase, ranks, attempt, grace) with { Gang = $"jobs/{Job}" };

    /// <summary>Brings an attempt to the phase in which its ranks run, over the bus.</summary>
    public async Task<GangMemberReport> RunAsync(int ranks = 1, int attempt = 1, double grace = 5)
    {
        GangAssignment prepare = Assignment(GangPhase.Prepare, ranks, attempt, grace);
        await WantAsync(prepare);
        GangMemberReport prepared = await Scheduler.WaitForAsync(
            r => r.Attempt == attempt && r.Phase is MemberPhase.Prepared or MemberPhase.Failed, "prepared");
        await WantAsync(prepare with { Phase = GangPhase.Start, RendezvousAddress = prepared.RendezvousAddress });
        return await Scheduler.WaitForAsync(r => r.Attempt == attempt && r.ProcessIds.Count == ranks, "running");
    }

    public async Task StopAsync(string reason, double grace = 5, int ranks = 1)
    {
        await WantAsync(Assignment(GangPhase.Stop, ranks, grace: grace) with { StopReason = reason });
        await Scheduler.WaitForAsync($"jobs/{Job}", MemberPhase.Released);
    }

    /// <summary>What the agent told a rank.</summary>
    public async Task<RankLaunch> LaunchAsync(int rank = 0, int attempt = 1)
    {
        string path = Path.Combine(DataDirectory, "launch", $"jobs.{Job}.{attempt}", $"rank-{rank}.json");
        await Waiting.UntilAsync(() => File.Exists(path), path);
        return GangJson.Read<RankLaunch>(await File.ReadAllTextAsync(path));
    }

    public string Log(int rank = 0, int attempt = 1) => Path.Combine(Root, Gang, $"{attempt}", "logs", $"rank-{rank}.log");

    public static bool IsAlive(int processId) =>
        File.Exists($"/proc/{processId}/stat") && !File.ReadAllText($"/proc/{processId}/stat").Contains(") Z ", StringComparison.Ordinal);

    public async ValueTask DisposeAsync()
    {
        await App.StopAsync();
        await App.DisposeAsync();
        if (_receiver is not null)
        {
            await _receiver.DisposeAsync();
        }

        await ((IAsyncDisposable)Bus).DisposeAsync();
        await Scheduler.DisposeAsync();
        _directory.Dispose();
    }

    private async Task StartAsync()
    {
        _receiver = await Bus.ReceiveAsync(
            "scheduler-reports",
            [
                MessageHandler.For<GangMemberChanged>((message, _) =>
                {
                    Scheduler.Take(message.Report);
                    return Task.CompletedTask;
                }),
                MessageHandler.For<GangProgressed>((message, _) =>
                {
                    Progress.Enqueue(message.Report);
                    return Task.CompletedTask;
                }),
            ],
            CancellationToken.None);
        await App.StartAsync();
        // Without a lease the agent takes no commands.
        await Waiting.UntilAsync(() => Scheduler.LastIncarnation.Length > 0, "registered");
    }

    private WebApplication Build() => AgentApplication.Build(Arguments, builder =>
    {
        builder.Logging.SetMinimumLevel(LogLevel.Warning);
        builder.Services.UseSharedBus(Bus);
    });
}
