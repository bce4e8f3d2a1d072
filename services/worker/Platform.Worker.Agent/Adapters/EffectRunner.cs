using System.ComponentModel;
using System.Diagnostics;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging;
using Platform.Core.Cluster;
using Platform.Core.Gangs;
using Platform.Core.Jobs;
using Platform.Core.Validation;
using Platform.Hosting.Artifacts;
using Platform.Hosting.Ranks;
using Platform.Hosting.Telemetry;
using Platform.Worker.Agent.Adapters.Processes;
using Platform.Worker.Agent.Adapters.Ranks;
using Platform.Worker.Agent.Adapters.Rendezvous;
using Platform.Worker.Agent.Adapters.Scheduler;
using Platform.Worker.Agent.Core;

namespace Platform.Worker.Agent.Adapters;

/// <summary>Carries out what the machine orders, in order; what takes long goes on by itself and comes back as an event.</summary>
internal sealed partial class EffectRunner(
    AgentDirectory directory, AgentEvents events, AttemptTable attempts, RendezvousTable rendezvous, ReservedPorts ports, ProcessStarter starter,
    Preflight preflight, ProgressPublisher progress, ReportSender reports, LeaseLoop lease, AgentAddress address,
    NodeInventory inventory, ArtifactOptions artifacts, AgentOptions options, MonotonicClock clock, string otlpEndpoint,
    ILogger<EffectRunner> logger)
{
    /// <summary>Source of the agent's spans.</summary>
    public static readonly ActivitySource Source = new("Platform.Agent");

    public async Task RunAsync(AgentEffect effect)
    {
        switch (effect)
        {
            case AgentEffect.PersistEpoch persist:
                directory.PersistEpoch(persist.Epoch);
                break;
            case AgentEffect.PullAssignments:
                lease.RequestPull();
                break;
            case AgentEffect.RunPreflight run:
                _ = PreflightAsync(run.Assignment);
                break;
            case AgentEffect.OpenRendezvous open:
                await events.PostAsync(
                    new AgentEvent.RendezvousOpened(AttemptKey.Of(open.Assignment), MeetingPlace(open.Assignment)), CancellationToken.None);
                break;
            case AgentEffect.StartRank start:
                await StartAsync(start.Assignment, start.Placement);
                break;
            case AgentEffect.AskRanksToStop ask:
                await AskToStopAsync(ask);
                break;
            case AgentEffect.KillRanks kill:
                Kill(kill.Attempt);
                break;
            case AgentEffect.CleanUp cleanUp:
                CleanUp(cleanUp.Attempt);
                break;
            case AgentEffect.SendReport send:
                LogPhase(logger, send.Report.Gang, send.Report.Attempt, send.Report.Phase, send.Report.Failure?.Message ?? "");
                AgentMetrics.Count(send.Report);
                reports.Send(send.Report);
                break;
        }
    }

    /// <summary>Kills every process at once.</summary>
    public void KillAll()
    {
        foreach (RunningAttempt attempt in attempts.All)
        {
            Kill(attempt.Key);
        }
    }

    private async Task PreflightAsync(GangAssignment assignment)
    {
        using Activity? span = Source.Continue("agent preflight", assignment.TraceParent);
        span?.SetTag("platform.gang", assignment.Gang);
        span?.SetTag("platform.attempt", assignment.Attempt);
        // Off the machine's loop: a slow file system must not keep the lease waiting.
        GangFailure? failure = await Task.Factory.StartNew(
            () => preflight.Check(assignment), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        if (failure is not null)
        {
            span?.SetStatus(ActivityStatusCode.Error, failure.Message);
        }

        await events.PostAsync(new AgentEvent.PreflightFinished(AttemptKey.Of(assignment), failure), CancellationToken.None);
    }

    private async Task StartAsync(GangAssignment assignment, RankPlacement placement)
    {
        var key = AttemptKey.Of(assignment);
        using Activity? span = Source.Continue("agent start rank", assignment.TraceParent);
        span?.SetTag("platform.gang", assignment.Gang);
        span?.SetTag("platform.attempt", assignment.Attempt);
        span?.SetTag("platform.rank", placement.Rank);
        try
        {
            RunningAttempt attempt = attempts.GetOrAdd(assignment, directory.CreateSharedMemory);
            string log = artifacts.Resolve(Path.Combine(assignment.Gang, $"{assignment.Attempt}", "logs", $"rank-{placement.Rank}.log"));
            var rank = new RunningRank(placement.Rank, log, clock.Now);
            attempt.Ranks[placement.Rank] = rank;
            string launch = directory.WriteLaunch(Launch(attempt, placement, span?.Id ?? assignment.TraceParent));
            var (command, environment) = ProgramOf(assignment, placement, launch);
            if (placement.Rank == 0)
            {
                ports.Release(key);
            }

            rank.ProcessId = await starter.StartAsync(
                new ProcessOrder(command, log, environment), exitCode => ExitedAsync(key, rank, exitCode));
            await events.PostAsync(new AgentEvent.RankStarted(key, placement.Rank, rank.ProcessId), CancellationToken.None);
        }
        catch (Exception exception) when (exception is Win32Exception or IOException or UnauthorizedAccessException)
        {
            span?.SetStatus(ActivityStatusCode.Error, exception.Message);
            await events.PostAsync(
                new AgentEvent.RankStartFailed(
                    key, placement.Rank, $"Rank {placement.Rank} could not be started on node {options.Node}: {exception.Message}"),
                CancellationToken.None);
        }
    }

    /// <summary>Where an attempt's ranks meet: at this agent, or for a program of its own at a port that is kept for its first rank.</summary>
    private string MeetingPlace(GangAssignment assignment)
    {
        if (assignment.Kind == WorkloadKind.Command)
        {
            return $"{options.AdvertisedHost}:{ports.Reserve(AttemptKey.Of(assignment))}";
        }

        rendezvous.Open(assignment);
        return address.Value;
    }

    private (IReadOnlyList<string> Command, IReadOnlyDictionary<string, string> Environment) ProgramOf(GangAssignment assignment, RankPlacement placement, string launch)
    {
        var environment = Environment(assignment.Kind, placement);
        switch (assignment.Kind)
        {
            case WorkloadKind.Serving:
                return ([.. options.ServingCommand, "--launch", launch], environment);
            case WorkloadKind.Command when CommandJobReader.Read(JsonNode.Parse(assignment.Workload)) is Validated<CommandJobSpec>.Valid { Value: var job }:
                string checkpoints = artifacts.Resolve(Path.Combine(assignment.Gang, "checkpoints"));
                Directory.CreateDirectory(checkpoints);
                foreach (var (name, value) in job.Environment.Concat(CommandEnvironment.Of(
                    assignment, placement, assignment.RendezvousAddress is { Length: > 0 } master ? master : MeetingPlace(assignment), checkpoints, job.Resources.Device == "cuda")))
                {
                    environment[name] = value;
                }

                return (job.Command, environment);
            default:
                return ([.. options.WorkerCommand, "rank", "--launch", launch], environment);
        }
    }

    private RankLaunch Launch(RunningAttempt attempt, RankPlacement placement, string? traceParent) => new()
    {
        Gang = attempt.Key.Gang,
        Attempt = attempt.Key.Attempt,
        Rank = placement.Rank,
        WorldSize = attempt.Assignment.WorldSize,
        Node = options.Node,
        Devices = placement.Devices,
        DeviceMilli = placement.DeviceMilli,
        DeviceMemoryBytes = inventory.Devices.Where(d => placement.Devices.Contains(d.Index)).Sum(d => d.MemoryBytes) / 1000 * placement.DeviceMilli,
        ComputeThreads = options.ComputeThreads,
        Token = attempt.Assignment.Token,
        AgentSocket = directory.SocketPath,
        RendezvousAddress = attempt.Assignment.RendezvousAddress is { Length: > 0 } meeting
            ? meeting.Contains("://", StringComparison.Ordinal) ? meeting : $"http://{meeting}"
            : null,
        AdvertisedHost = options.AdvertisedHost,
        SharedMemoryDirectory = attempt.SharedMemoryDirectory,
        ArtifactRoot = artifacts.Root,
        Kind = attempt.Assignment.Kind,
        Workload = attempt.Assignment.Workload,
        ResumeFrom = attempt.Assignment.ResumeFrom,
        TraceParent = traceParent,
    };

    private Dictionary<string, string> Environment(WorkloadKind kind, RankPlacement placement)
    {
        string threads = $"{options.ComputeThreads}";
        var environment = new Dictionary<string, string>(ProcessTelemetry.ChildEnvironment(otlpEndpoint.Length > 0 ? otlpEndpoint : null))
        {
            ["OMP_NUM_THREADS"] = threads,
            ["MKL_NUM_THREADS"] = threads,
        };
        if (kind == WorkloadKind.Training)
        {
            foreach ((string name, string value) in TrainingAllocator.Environment)
            {
                environment[name] = value;
            }
        }

        if (options.DeviceKind == "cuda")
        {
            // The process sees the GPUs it was given and no others, numbered from 0, in the order the driver's tool lists them.
            environment["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID";
            environment["CUDA_VISIBLE_DEVICES"] = string.Join(',', placement.Devices);
        }

        return environment;
    }

    private async Task ExitedAsync(AttemptKey key, RunningRank rank, int exitCode)
    {
        rank.HasExited = true;
        LogExit(logger, key, rank.Rank, exitCode);
        // What it said last must not arrive after the news of its end.
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(2));
        await progress.FlushAsync(key, limit.Token);
        IReadOnlyList<string> tail = exitCode == 0 ? [] : LogTail.Read(rank.LogPath);
        await events.PostAsync(new AgentEvent.RankExited(key, rank.Rank, exitCode, tail), CancellationToken.None);
    }

    private async Task AskToStopAsync(AgentEffect.AskRanksToStop ask)
    {
        if (!attempts.TryGet(ask.Attempt, out RunningAttempt? attempt))
        {
            return;
        }

        // Before they stop: once one ends, the others leave what they wait in.
        IReadOnlyList<RankStall> stalls = CollectiveWatch.Stalls(attempt.Readings, TimeSpan.FromSeconds(options.HangSeconds), clock.Now);
        if (stalls.Count > 0)
        {
            await events.PostAsync(new AgentEvent.StallsObserved(ask.Attempt, stalls), CancellationToken.None);
        }

        attempt.RequestStop(new StopRequest(ask.Reason, ask.Grace, ask.Checkpoint));
        foreach (RunningRank rank in attempt.Ranks.Values)
        {
            // Those that listen have their command; a signal would end them before they have saved anything.
            if (rank is { Listens: false, ProcessId: > 0, HasExited: false })
            {
                Signals.SendToGroup(rank.ProcessId, Signals.Terminate);
            }
        }
    }

    private void Kill(AttemptKey key)
    {
        if (attempts.TryGet(key, out RunningAttempt? attempt))
        {
            attempt.RequestStop(new StopRequest("The attempt is being killed.", TimeSpan.Zero, Checkpoint: false));
            foreach (RunningRank rank in attempt.Ranks.Values.Where(r => r is { ProcessId: > 0, HasExited: false }))
            {
                Signals.SendToGroup(rank.ProcessId, Signals.Kill);
            }
        }
    }

    private void CleanUp(AttemptKey key)
    {
        rendezvous.Close(key);
        ports.Release(key);
        progress.Remove(key);
        attempts.Remove(key, out _);
        directory.DeleteAttempt(key);
    }

    [LoggerMessage(EventId = 2001, Level = LogLevel.Information, Message = "{Gang}/{Attempt} {Phase} {Failure}")]
    private static partial void LogPhase(ILogger logger, string gang, int attempt, MemberPhase phase, string failure);

    [LoggerMessage(EventId = 2002, Level = LogLevel.Information, Message = "{Attempt} rank {Rank} ended with exit code {ExitCode}")]
    private static partial void LogExit(ILogger logger, AttemptKey attempt, int rank, int exitCode);
}
