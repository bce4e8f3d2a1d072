using System.Collections.Concurrent;
using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using Platform.Hosting.Artifacts;
using Platform.Hosting.Bus;
using Platform.Hosting.Network;
using Platform.Scheduling.Capacity;

namespace Platform.Scheduler.Adapters.Capacity;

/// <summary>Node agents as processes of this machine: the whole way of a growing cluster, where one can watch it.</summary>
internal sealed partial class LocalProvider : ICapacityProvider
{
    private static readonly TimeSpan StopGrace = TimeSpan.FromSeconds(12);

    private readonly ConcurrentDictionary<string, Agent> agents = new();
    private readonly BlockingCollection<Action> orders = new(boundedCapacity: 1024);
    private readonly SchedulerOptions options;
    private readonly ArtifactOptions artifacts;
    private readonly BusOptions bus;
    private readonly Listeners listeners;
    private readonly IConfiguration configuration;
    private readonly TimeProvider time;
    private readonly ILogger logger;
    private bool reaped;

    public LocalProvider(
        SchedulerOptions options, ArtifactOptions artifacts, BusOptions bus, Listeners listeners, IConfiguration configuration, TimeProvider time, ILogger<LocalProvider> logger)
    {
        (this.options, this.artifacts, this.bus, this.listeners, this.configuration, this.time, this.logger) = (options, artifacts, bus, listeners, configuration, time, logger);
        new Thread(() =>
        {
            foreach (var order in orders.GetConsumingEnumerable())
            {
                order();
            }
        })
        { IsBackground = true, Name = "local nodes" }.Start();
    }

    /// <inheritdoc/>
    public string Name => NodeGroupOptions.Local;

    private string Records => Path.Combine(options.Capacity.Local.Directory, "agents");

    /// <inheritdoc/>
    public async Task<IReadOnlyList<ProvidedNode>> ListAsync(CancellationToken cancellationToken)
    {
        if (!reaped)
        {
            await ReapAsync(cancellationToken);
            reaped = true;
        }

        foreach (var (name, agent) in agents.Where(entry => entry.Value.Process.HasExited).ToList())
        {
            LogEnded(logger, name, agent.Process.ExitCode);
            agents.TryRemove(name, out _);
            agent.Process.Dispose();
            File.Delete(RecordOf(name));
        }

        return [.. agents.Keys.Select(name => new ProvidedNode(name, ""))];
    }

    /// <inheritdoc/>
    public async Task CreateAsync(ManagedNode node, NodeGroup group, CancellationToken cancellationToken)
    {
        if (agents.ContainsKey(node.Name))
        {
            return;
        }

        string directory = Path.Combine(options.Capacity.Local.Directory, node.Name);
        Directory.CreateDirectory(directory);
        Directory.CreateDirectory(Records);
        var started = new TaskCompletionSource<Process>(TaskCreationOptions.RunContinuationsAsynchronously);
        orders.Add(
            () =>
            {
                try
                {
                    started.SetResult(AgentProcess.Start(Command(node, group, directory), Path.Combine(directory, "agent.log"), BusSettings()));
                }
                catch (Exception exception)
                {
                    started.SetException(exception);
                }
            },
            cancellationToken);
        try
        {
            var process = await started.Task;
            agents[node.Name] = new Agent(process);
            await File.WriteAllTextAsync(
                RecordOf(node.Name), string.Create(CultureInfo.InvariantCulture, $"{process.Id} {AgentProcess.StartTicks(process.Id)}"), cancellationToken);
        }
        catch (Win32Exception exception)
        {
            throw new CapacityRefusedException($"The agent could not be started: {exception.Message}", exception);
        }
    }

    /// <inheritdoc/>
    public Task RemoveAsync(string node, CancellationToken cancellationToken)
    {
        if (agents.TryGetValue(node, out var agent))
        {
            Stop(agent);
        }

        return Task.CompletedTask;
    }

    /// <summary>Ends every agent: none outlives the scheduler that started it.</summary>
    public async ValueTask DisposeAsync()
    {
        while (!agents.IsEmpty)
        {
            foreach (var agent in agents.Values.Where(agent => !agent.Process.HasExited))
            {
                Stop(agent);
            }

            await ListAsync(CancellationToken.None);
            await Task.Delay(agents.IsEmpty ? TimeSpan.Zero : TimeSpan.FromMilliseconds(50), time);
        }

        orders.CompleteAdding();
    }

    private void Stop(Agent agent)
    {
        agent.StopAskedAt ??= Ask();
        if (time.GetElapsedTime(agent.StopAskedAt.Value) > StopGrace)
        {
            AgentProcess.Kill(agent.Process.Id);
        }

        long Ask()
        {
            AgentProcess.Stop(agent.Process.Id);
            return time.GetTimestamp();
        }
    }

    /// <summary>Ends agents of a scheduler that was killed: they belong to names that are asked for anew, if they are still wanted.</summary>
    private async Task ReapAsync(CancellationToken cancellationToken)
    {
        foreach (string file in Directory.Exists(Records) ? Directory.GetFiles(Records) : [])
        {
            string[] words = (await File.ReadAllTextAsync(file, cancellationToken)).Split(' ');
            if (words is [var id, var ticks] && int.TryParse(id, out int processId) && ulong.TryParse(ticks, out ulong startTicks))
            {
                long since = time.GetTimestamp();
                while (AgentProcess.StartTicks(processId) == startTicks)
                {
                    LogReaped(logger, Path.GetFileName(file), processId);
                    if (time.GetElapsedTime(since) > StopGrace)
                    {
                        AgentProcess.Kill(processId);
                    }
                    else
                    {
                        AgentProcess.Stop(processId);
                    }

                    await Task.Delay(TimeSpan.FromMilliseconds(200), time, cancellationToken);
                }
            }

            File.Delete(file);
        }
    }

    private string RecordOf(string node) => Path.Combine(Records, node);

    private List<string> Command(ManagedNode node, NodeGroup group, string directory)
    {
        List<string> command =
        [
            .. options.Capacity.Local.Command, "agent",
            $"--Agent:Node={node.Name}", $"--Agent:Group={group.Name}", $"--Agent:Spot={group.Spot}", $"--Agent:Cluster={node.Cluster}",
            $"--Agent:Devices={group.Devices}", $"--Agent:DeviceKind={group.DeviceKind}", $"--Agent:DataDirectory={directory}",
            $"--Agent:SchedulerAddress={listeners.Addresses[SchedulerApplication.GrpcListener]}", "--Agent:MetricsListen=127.0.0.1:0",
            $"--Artifacts:Root={Path.GetFullPath(artifacts.Root)}",
        ];
        command.AddRange(group.Topology.Select(label => $"--Agent:Topology:{label.Key}={label.Value}"));
        if (options.Capacity.Groups.First(own => own.Name == group.Name).MemoryBytes is { } memory)
        {
            command.Add($"--Agent:MemoryBytes={memory}");
        }

        command.AddRange(options.Capacity.Local.Arguments);
        return command;
    }

    /// <summary>By the environment, which unlike arguments only the owner can read: a broker has a password.</summary>
    private Dictionary<string, string?> BusSettings()
    {
        var settings = configuration.GetSection("Bus").AsEnumerable().Where(entry => entry.Value is not null)
            .ToDictionary(entry => entry.Key.Replace(":", "__", StringComparison.Ordinal), entry => entry.Value);
        if (bus.Transport == "memory")
        {
            // Such a bus ends with its process: the agent's messages go through the scheduler.
            settings["Bus__Transport"] = "scheduler";
        }

        return settings;
    }

    [LoggerMessage(EventId = 3074, Level = LogLevel.Information, Message = "The agent of local node {Node} has ended with {ExitCode}")]
    private static partial void LogEnded(ILogger logger, string node, int exitCode);

    [LoggerMessage(EventId = 3075, Level = LogLevel.Warning, Message = "The agent of local node {Node}, process {ProcessId}, was left by a former scheduler and is stopped")]
    private static partial void LogReaped(ILogger logger, string node, int processId);

    private sealed class Agent(Process process)
    {
        public Process Process { get; } = process;

        public long? StopAskedAt { get; set; }
    }
}
