using System.Security.Cryptography;
using System.Text.Json.Nodes;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Platform.Scheduler.Core;
using Platform.Scheduler.Data;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Gangs;
using Platform.V1;
using PendingReason = Platform.V1.PendingReason;

namespace Platform.Scheduler.Grpc;

/// <summary>Jobs as messages of the API.</summary>
internal static class JobMessages
{
    private static readonly JsonFormatter SpecFormatter = new(JsonFormatter.Settings.Default.WithPreserveProtoFieldNames(true));
    private static readonly JsonParser SpecParser = new(JsonParser.Settings.Default.WithIgnoreUnknownFields(true));

    /// <summary>The spec as its author wrote it, for the reader of job specs.</summary>
    public static JsonNode? JsonOf(IMessage message) => JsonNode.Parse(SpecFormatter.Format(message));

    public static T Parse<T>(string json)
        where T : IMessage, new() => SpecParser.Parse<T>(json);

    public static Job Of(JobRow row, GangState gang, ProgressRow? progress, GangDeferral? deferral, int totalSteps)
    {
        var job = new Job
        {
            Name = ResourceNames.Job(row.Project, row.Id),
            Uid = row.Uid,
            Spec = Parse<JobSpec>(row.Spec),
            State = StateOf(gang.Stage),
            StateReason = gang.Stage == GangStage.Queued && deferral is not null ? deferral.Reason.Message : gang.StageReason,
            CreateTime = Timestamp.FromDateTimeOffset(gang.SubmittedAt),
            StartTime = TimeOf(gang.FirstRunningAt),
            EndTime = TimeOf(gang.EndedAt),
            Attempt = gang.Attempt?.Number ?? 0,
            Restarts = gang.Restarts,
            Progress = ProgressOf(gang, progress, totalSteps),
            Failure = gang.Failure is { } failure ? FailureOf(failure) : null,
            User = gang.User,
            Model = row.Model is null ? "" : ResourceNames.Model(row.Project, row.Model),
            CheckpointStep = gang.LatestCheckpoint?.Step ?? 0,
            Checkpoint = gang.LatestCheckpoint is { } checkpoint ? CheckpointOf(checkpoint) : null,
        };
        JobFigures.AddTo(job, row, gang, progress);
        if (job.Spec.Priority != gang.Priority)
        {
            job.Spec.Priority = gang.Priority;
        }

        job.Events.AddRange(gang.Notes.Select(note => new JobEvent { Time = Timestamp.FromDateTimeOffset(note.Time), Kind = UpperSnake.Of(note.Kind), Message = note.Message }));
        job.PastFailures.AddRange(gang.PastFailures.Select(FailureOf));
        job.Ranks.AddRange((gang.Attempt?.Members ?? []).SelectMany(member => member.Ranks.Select(rank => new RankStatus
        {
            Rank = rank.Rank,
            Node = member.Node,
            Device = rank.Devices[0],
            ProcessId = member.ProcessIds.GetValueOrDefault(rank.Rank),
        })).OrderBy(rank => rank.Rank));
        job.Etag = Convert.ToHexStringLower(SHA256.HashData(job.ToByteArray()).AsSpan(0, 8));
        return job;
    }

    public static JobState StateOf(GangStage stage) => stage switch
    {
        GangStage.Queued => JobState.Queued,
        GangStage.Preparing or GangStage.Starting => JobState.Starting,
        GangStage.Running => JobState.Running,
        GangStage.Stopping => JobState.Stopping,
        GangStage.Paused => JobState.Paused,
        GangStage.Succeeded => JobState.Succeeded,
        GangStage.Failed => JobState.Failed,
        _ => JobState.Cancelled,
    };

    /// <summary>Names of the stages that a state of the API stands for.</summary>
    public static string[] StagesOf(JobState state) =>
        [.. System.Enum.GetValues<GangStage>().Where(stage => StateOf(stage) == state).Select(stage => stage.ToString())];

    public static PendingReason ReasonOf(Scheduling.Cycle.PendingReason reason)
    {
        var message = new PendingReason { Reason = UpperSnake.Of(reason.Code), Message = reason.Message, Subject = reason.Subject };
        if (reason.Figures is { } figures)
        {
            message.Figures = new V1.PendingFigures
            {
                DeviceKind = figures.DeviceKind,
                Needed = figures.NeededMilli / 1000.0,
                Free = figures.FreeMilli / 1000.0,
                Total = figures.TotalMilli / 1000.0,
                Missing = figures.MissingMilli / 1000.0,
            };
        }

        message.Causes.AddRange(reason.Causes.Select(ReasonOf));
        return message;
    }

    /// <summary>Adds why a job waits. Without an explanation (its queue's budget keeps it from the cycle) what the last cycle said stands.</summary>
    public static void AddTo(ExplainJobResponse response, Explanation? explanation, GangDeferral deferral)
    {
        response.Position = explanation?.Position ?? deferral.Position;
        response.Reasons.Add(ReasonOf(explanation?.Reason ?? deferral.Reason));
        response.EstimatedStart = TimeOf(explanation?.EstimatedStart ?? deferral.EstimatedStart);
        response.EstimateBasis = explanation?.Basis is { } basis ? UpperSnake.Of(basis) : "";
        foreach (var change in explanation?.Changes ?? [])
        {
            response.Changes.Add(new V1.Counterfactual { Change = UpperSnake.Of(change.Change), Message = change.Message, Subject = change.Subject, Amount = change.Amount });
        }

        response.Counterfactuals.AddRange(response.Changes.Select(change => change.Message).Concat(deferral.Reason.Unblocks).Distinct());
    }

    private static TrainingProgress ProgressOf(GangState gang, ProgressRow? row, int totalSteps)
    {
        var progress = new TrainingProgress { TotalSteps = totalSteps };
        if (row is null)
        {
            return progress;
        }

        progress.Phase = gang.IsActive ? row.Phase : "";
        progress.Step = row.Step;
        if (row.Loss is { } loss)
        {
            progress.Loss = loss;
        }

        if (row.FirstLoss is { } first)
        {
            progress.FirstLoss = first;
        }

        if (row.TokensPerSecond is { } tokens)
        {
            progress.TokensPerSecond = tokens;
        }

        if (row.PhaseFraction is { } fraction && gang.IsActive)
        {
            progress.PhaseFraction = fraction;
        }

        if (row.StepSeconds is { } seconds && gang.Stage == GangStage.Running)
        {
            progress.Eta = Duration.FromTimeSpan(TimeSpan.FromSeconds(Math.Min(seconds * Math.Max(0, totalSteps - row.Step), 1e9)));
        }

        return progress;
    }

    private static CheckpointStatus CheckpointOf(CommittedCheckpoint checkpoint) => new()
    {
        Step = checkpoint.Step,
        Attempt = checkpoint.Attempt,
        CommitTime = Timestamp.FromDateTimeOffset(checkpoint.CommittedAt),
        PauseSeconds = checkpoint.Cost?.PauseSeconds ?? 0,
        WriteSeconds = checkpoint.Cost?.WriteSeconds ?? 0,
        SizeBytes = checkpoint.Cost?.SizeBytes ?? 0,
    };

    private static Failure FailureOf(PastFailure past)
    {
        var failure = new Failure
        {
            Reason = UpperSnake.Of(past.Failure.Code),
            Message = past.Failure.Message,
            Node = past.Failure.Node ?? "",
            Attempt = past.Attempt,
            Time = Timestamp.FromDateTimeOffset(past.Time),
        };
        if (past.Failure.Rank is { } rank)
        {
            failure.Rank = rank;
        }

        failure.LogTail.AddRange(past.Failure.LogTail);
        return failure;
    }

    private static Timestamp? TimeOf(DateTimeOffset? time) => time is { } at ? Timestamp.FromDateTimeOffset(at) : null;
}
