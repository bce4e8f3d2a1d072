using Microsoft.Extensions.Logging;
using Platform.Core.Gangs;
using Platform.Worker.Agent.Adapters.Ranks;
using Platform.Worker.Agent.Adapters.Scheduler;
using Platform.Worker.Agent.Core;

namespace Platform.Worker.Agent.Adapters;

/// <summary>Feeds events to the machine one by one and carries out what it orders.</summary>
internal sealed partial class AgentLoop(
    AgentEvents events, AgentStateHolder holder, EffectRunner effects, AttemptTable attempts, MonotonicClock clock,
    AgentOptions options, ILogger<AgentLoop> logger)
{
    private static readonly TimeSpan LongestWait = TimeSpan.FromMilliseconds(500);

    /// <summary>Runs until cancelled. An exception ends every process of the node first: nobody would supervise them.</summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        try
        {
            while (!cancellationToken.IsCancellationRequested)
            {
                await StepAsync(await NextAsync(cancellationToken));
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // The agent stops; its processes were stopped before.
        }
        catch (Exception exception)
        {
            LogBroken(logger, exception, options.Node);
            effects.KillAll();
            throw;
        }
    }

    private async Task StepAsync(AgentEvent happened)
    {
        DateTimeOffset now = clock.Now;
        (AgentState state, IReadOnlyList<AgentEffect> ordered) = AgentMachine.Apply(holder.State, happened, now);
        holder.State = state;
        foreach (AgentEffect effect in ordered)
        {
            await effects.RunAsync(effect);
        }

        AgentMetrics.Show(state, now);
        if (happened is AgentEvent.Tick)
        {
            await FindHungAsync(state, now);
        }
    }

    private async Task<AgentEvent> NextAsync(CancellationToken cancellationToken)
    {
        if (events.Reader.TryRead(out AgentEvent? ready))
        {
            return ready;
        }

        TimeSpan wait = AgentMachine.NextDeadline(holder.State) is { } deadline && deadline - clock.Now < LongestWait
            ? deadline - clock.Now
            : LongestWait;
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(wait > TimeSpan.Zero ? wait : TimeSpan.FromMilliseconds(1));
        try
        {
            return await events.Reader.ReadAsync(limit.Token);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return new AgentEvent.Tick();
        }
    }

    private async Task FindHungAsync(AgentState state, DateTimeOffset now)
    {
        foreach (AttemptState attempt in state.Attempts.Values)
        {
            if (attempt is { Phase: MemberPhase.Running, Stopping: null } && attempts.TryGet(attempt.Key, out RunningAttempt? running))
            {
                if (CollectiveWatch.Check(options.Node, running.Readings, TimeSpan.FromSeconds(options.HangSeconds), now) is { } failure)
                {
                    IReadOnlyList<string> tail = failure.Rank is { } rank && running.Ranks.TryGetValue(rank, out RunningRank? culprit)
                        ? Processes.LogTail.Read(culprit.LogPath) : [];
                    await events.PostAsync(
                        new AgentEvent.FailureReported(attempt.Key, failure with { LogTail = tail }), CancellationToken.None);
                }
            }
        }
    }

    [LoggerMessage(EventId = 2003, Level = LogLevel.Critical, Message = "The agent of node {Node} is broken; its processes are killed")]
    private static partial void LogBroken(ILogger logger, Exception exception, string node);
}
