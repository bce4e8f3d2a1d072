using Grpc.Core;
using Platform.Core.Gangs;
using Platform.Hosting.Ranks;
using Platform.Internal.V1;
using Platform.Worker.Agent.Adapters.Processes;
using Platform.Worker.Agent.Adapters.Scheduler;
using Platform.Worker.Agent.Core;

namespace Platform.Worker.Agent.Adapters.Ranks;

/// <summary>RankService: what the processes of this node's attempts say and ask.</summary>
internal sealed class RankServiceEndpoint(
    AttemptTable attempts, AgentEvents events, ProgressPublisher progress, SchedulerLink scheduler, MonotonicClock clock, AgentOptions options)
    : RankService.RankServiceBase
{
    public override Task<HelloResponse> Hello(HelloRequest request, ServerCallContext context)
    {
        attempts.Authenticate(request.Gang, request.Attempt, request.Token).RankOf(request.Rank);
        return Task.FromResult(new HelloResponse());
    }

    public override async Task<ReportResponse> Report(ReportRequest request, ServerCallContext context)
    {
        RunningAttempt attempt = attempts.Authenticate(request.Gang, request.Attempt, request.Token);
        RunningRank rank = attempt.RankOf(request.Rank);
        GroupStall[] collectives =
            [.. request.Collectives.Select(c => new GroupStall(c.Group, [.. c.Members], c.Sequence, c.Operation, c.SecondsInside, [.. c.WaitingFor]))];
        double? fraction = request.HasPhaseFraction ? request.PhaseFraction : null;
        rank.Observe(before => RankReading.Next(
            before, request.Rank, request.Phase, fraction, collectives, request.Points.Count > 0, clock.Now));
        if (request.MetricsEndpoint.Length > 0)
        {
            rank.MetricsEndpoint = request.MetricsEndpoint;
        }

        progress.Add(attempt, request.Rank, request.Phase, fraction, [.. request.Points.Select(ToMetrics)]);
        if (request.ReplicaEndpoint.Length > 0)
        {
            await events.PostAsync(new AgentEvent.ReplicaReady(attempt.Key, request.ReplicaEndpoint), context.CancellationToken);
        }

        if (request.FailureReason.Length > 0)
        {
            await events.PostAsync(new AgentEvent.FailureReported(attempt.Key, Failure(request, rank)), context.CancellationToken);
        }

        return new ReportResponse { Stop = attempt.Stop.IsCompleted };
    }

    public override async Task<RankCommitCheckpointResponse> CommitCheckpoint(RankCommitCheckpointRequest request, ServerCallContext context)
    {
        attempts.Authenticate(request.Gang, request.Attempt, request.Token);
        CommitCheckpointResponse response = await scheduler.CallAsync(
            (client, call) => client.CommitCheckpointAsync(
                new CommitCheckpointRequest
                {
                    Gang = request.Gang,
                    Attempt = request.Attempt,
                    Step = request.Step,
                    Directory = request.Directory,
                    ManifestSha256 = request.ManifestSha256,
                    Times = request.Times,
                },
                call).ResponseAsync,
            context.Deadline, context.CancellationToken);
        return new RankCommitCheckpointResponse
        {
            ExpiredDirectories = { response.ExpiredDirectories },
            KeptDirectories = { response.KeptDirectories },
        };
    }

    public override async Task<RankRegisterModelResponse> RegisterModel(RankRegisterModelRequest request, ServerCallContext context)
    {
        attempts.Authenticate(request.Gang, request.Attempt, request.Token);
        RegisterModelResponse response = await scheduler.CallAsync(
            (client, call) => client.RegisterModelAsync(
                new RegisterModelRequest
                {
                    Gang = request.Gang,
                    Attempt = request.Attempt,
                    ModelId = request.ModelId,
                    Directory = request.Directory,
                    FinalLoss = request.FinalLoss,
                },
                call).ResponseAsync,
            context.Deadline, context.CancellationToken);
        return new RankRegisterModelResponse { Model = response.Model };
    }

    public override async Task WatchCommands(
        WatchCommandsRequest request, IServerStreamWriter<WatchCommandsResponse> responseStream, ServerCallContext context)
    {
        RunningAttempt attempt = attempts.Authenticate(request.Gang, request.Attempt, request.Token);
        RunningRank rank = attempt.RankOf(request.Rank);
        rank.AddWatcher(1);
        try
        {
            // The headers tell the process that it is heard.
            await context.WriteResponseHeadersAsync([]);
            StopRequest stop = await attempt.Stop.WaitAsync(context.CancellationToken);
            await responseStream.WriteAsync(
                new WatchCommandsResponse { StopReason = stop.Reason, GraceSeconds = stop.Grace.TotalSeconds, Checkpoint = stop.Checkpoint },
                context.CancellationToken);
            await Task.Delay(Timeout.Infinite, context.CancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
        catch (OperationCanceledException)
        {
            // The process has ended, or this agent has.
        }
        finally
        {
            rank.AddWatcher(-1);
        }
    }

    private static StepMetrics ToMetrics(StepPoint point) => new(
        point.Step, point.Loss, point.GradNorm, point.TokensPerSecond, point.LearningRate, point.StepSeconds,
        point.HasEvalLoss ? point.EvalLoss : null)
    {
        Parts = point.Parts.Length > 0 ? GangJson.Read<StepParts>(point.Parts) : null,
        ModelFlopsUtilization = point.HasModelFlopsUtilization ? point.ModelFlopsUtilization : null,
        SkippedSteps = point.SkippedSteps,
        Measurement = point.Measurement.Length > 0 ? GangJson.Read<RunMeasurement>(point.Measurement) : null,
    };

    private GangFailure Failure(ReportRequest request, RunningRank rank) => new()
    {
        Code = FailureReasons.Parse(request.FailureReason),
        Message = request.FailureMessage,
        Rank = request.Rank,
        Node = options.Node,
        LogTail = LogTail.Read(rank.LogPath),
        IsPermanent = request.FailurePermanent,
        Checkpoint = request.FailureCheckpoint.Length > 0 ? request.FailureCheckpoint : null,
    };
}
