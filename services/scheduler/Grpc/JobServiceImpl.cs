using System.Security.Cryptography;
using Google.Protobuf;
using Grpc.Core;
using Microsoft.EntityFrameworkCore;
using Platform.Core.Jobs;
using Platform.Hosting.Errors;
using Platform.Hosting.Network;
using Platform.Hosting.Telemetry;
using Platform.Scheduler.Adapters;
using Platform.Scheduler.Core;
using Platform.Scheduler.Data;
using Platform.Scheduling.Gangs;
using Platform.Scheduling.Planning;
using Platform.V1;

namespace Platform.Scheduler.Grpc;

/// <summary>Jobs, as their owners see them.</summary>
internal sealed class JobServiceImpl(
    ControlLoop loop, JobReader jobs, JobSubmission submission, JobPlanning planning, JobLogs logs, JobTraces traces, JobUpdates updates, ChangeFeed feed, ControlView view) : JobService.JobServiceBase
{
    private static readonly System.Diagnostics.ActivitySource Source = new("Platform.Scheduler");

    public override async Task<Job> CreateJob(CreateJobRequest request, ServerCallContext context)
    {
        using var activity = Source.StartActivity("create job");
        string project = Requests.Project(request.Parent);
        string digest = Convert.ToHexStringLower(SHA256.HashData(request.Spec?.ToByteArray() ?? []));
        if (await ReplayAsync(project, request.RequestId, digest, context.CancellationToken) is { } earlier)
        {
            return (await jobs.GetAsync(project, earlier, context.CancellationToken)).Job;
        }

        var (name, spec, predicted, gangOf) = await ReadAsync(project, request, context.CancellationToken);
        if (request.ValidateOnly)
        {
            return new Job { Spec = JobMessages.Parse<JobSpec>(spec), State = JobState.Unspecified };
        }

        string user = CallerHeader.Read(context);
        string? trace = TraceContext.Current;
        JobRow? row = null;
        var (id, gang) = await loop.RunThenAsync<(string Id, GangState? Gang)>(
            async control =>
            {
                if (await FindRequestAsync(control, project, request.RequestId, digest, context.CancellationToken) is { } known)
                {
                    return () => (known, null);
                }

                string created = JobIds.New(name);
                long now = control.Now.ToUnixTimeMilliseconds();
                row = new JobRow
                {
                    Id = created,
                    Project = project,
                    Uid = Guid.NewGuid().ToString(),
                    Sequence = control.NextSequence(),
                    Spec = spec,
                    User = user,
                    Predicted = predicted,
                    CreatedUnixMs = now,
                };
                StateStore.Insert(control.Rows, row);
                if (request.RequestId.Length > 0)
                {
                    control.Add(new RequestRow { Scope = $"{project}/jobs", RequestId = request.RequestId, Digest = digest, Resource = created, CreatedUnixMs = now });
                    control.Created[request.RequestId] = created;
                }

                control.Plane.Submit(gangOf(created, user, trace, control.Now));
                return () => (created, control.Plane.Find($"jobs/{created}"));
            },
            context.CancellationToken);
        return row is not null && gang is not null ? jobs.Of(row, gang) : (await jobs.GetAsync(project, id, context.CancellationToken)).Job;
    }

    public override async Task<Job> GetJob(GetJobRequest request, ServerCallContext context)
    {
        var (project, id) = Requests.Name(request.Name, "jobs");
        return (await jobs.GetAsync(project, id, context.CancellationToken)).Job;
    }

    public override Task<ListJobsResponse> ListJobs(ListJobsRequest request, ServerCallContext context)
    {
        string project = Requests.Project(request.Parent);
        var (size, after) = Requests.Page(request.PageSize, request.PageToken);
        return jobs.ListAsync(project, size, after, request.State, context.CancellationToken);
    }

    public override Task<Job> CancelJob(CancelJobRequest request, ServerCallContext context) =>
        ChangeAsync(request.Name, new GangEvent.CancelRequested(), stage => null, context.CancellationToken);

    public override Task<Job> PauseJob(PauseJobRequest request, ServerCallContext context) =>
        ChangeAsync(request.Name, new GangEvent.PauseRequested(), stage => IsOver(stage) ? "it has ended" : null, context.CancellationToken);

    public override Task<Job> ResumeJob(ResumeJobRequest request, ServerCallContext context) =>
        ChangeAsync(request.Name, new GangEvent.ResumeRequested(), stage => IsOver(stage) ? "it has ended" : null, context.CancellationToken);

    public override async Task<Job> UpdateJob(UpdateJobRequest request, ServerCallContext context)
    {
        var (project, id) = Requests.Name(request.Name, "jobs");
        var (job, gang) = await jobs.GetAsync(project, id, context.CancellationToken);
        if (request.Etag.Length > 0 && request.Etag != job.Etag)
        {
            throw new FailedPreconditionException("ETAG_MISMATCH", $"{request.Name} has changed since it was read; read it again.");
        }

        if (!request.HasPriority && !request.HasSteps && !request.HasLr && !request.HasData)
        {
            throw new InvalidRequestException("priority", "Nothing to change is given.");
        }

        if (IsOver(gang.Stage))
        {
            throw new FailedPreconditionException("JOB_ENDED", $"{request.Name} cannot be changed: it is over.");
        }

        await loop.RunAsync(control => updates.ApplyAsync(control, project, id, request, context.CancellationToken), context.CancellationToken);
        return (await jobs.GetAsync(project, id, context.CancellationToken)).Job;
    }

    public override async Task WatchJob(WatchJobRequest request, IServerStreamWriter<WatchJobResponse> responseStream, ServerCallContext context)
    {
        var (project, id) = Requests.Name(request.Name, "jobs");
        using var watcher = feed.Watch($"jobs/{id}");
        string last = "";
        while (true)
        {
            var (job, gang) = await jobs.GetAsync(project, id, context.CancellationToken);
            if (job.Etag != last)
            {
                last = job.Etag;
                await responseStream.WriteAsync(new WatchJobResponse { Job = job }, context.CancellationToken);
            }

            if (gang.IsTerminal)
            {
                return;
            }

            await watcher.WaitAsync(context.CancellationToken);
        }
    }

    public override async Task StreamLogs(StreamLogsRequest request, IServerStreamWriter<StreamLogsResponse> responseStream, ServerCallContext context)
    {
        var (project, id) = Requests.Name(request.Name, "jobs");
        if (request.Tail < 0)
        {
            throw new InvalidRequestException("tail", $"Expected 0 or more, found {request.Tail}.");
        }

        await logs.StreamAsync(project, id, request.HasRank ? request.Rank : null, request.Follow, request.Tail, responseStream, context.CancellationToken);
    }

    public override async Task GetTrace(GetTraceRequest request, IServerStreamWriter<GetTraceResponse> responseStream, ServerCallContext context)
    {
        var (project, id) = Requests.Name(request.Name, "jobs");
        await traces.StreamAsync(project, id, responseStream, context.CancellationToken);
    }

    public override async Task<GetMetricsResponse> GetMetrics(GetMetricsRequest request, ServerCallContext context)
    {
        var (project, id) = Requests.Name(request.Name, "jobs");
        await jobs.GetAsync(project, id, context.CancellationToken);
        var response = new GetMetricsResponse();
        foreach (var row in await jobs.PointsAsync(id, request.AfterStep, context.CancellationToken))
        {
            var point = new MetricPoint
            {
                Step = row.Step,
                Loss = row.Loss,
                GradNorm = row.GradNorm,
                TokensPerSecond = row.TokensPerSecond,
                LearningRate = row.LearningRate,
                StepSeconds = row.StepSeconds,
            };
            if (row.EvalLoss is { } eval)
            {
                point.EvalLoss = eval;
                point.EvalPerplexity = Math.Exp(eval);
            }

            JobFigures.AddTo(point, row);
            response.Points.Add(point);
        }

        return response;
    }

    public override async Task<ExplainJobResponse> ExplainJob(ExplainJobRequest request, ServerCallContext context)
    {
        var (project, id) = Requests.Name(request.Name, "jobs");
        var (job, _) = await jobs.GetAsync(project, id, context.CancellationToken);
        var response = new ExplainJobResponse();
        if (view.Now.Deferrals.GetValueOrDefault($"jobs/{id}") is { } deferral)
        {
            var (input, providers, now) = await loop.RunAsync(
                control => (control.Plane.Input(control.Now), control.Plane.ExplainCapacity($"jobs/{id}", control.Now), control.Now), context.CancellationToken);
            JobMessages.AddTo(response, Scheduling.Cycle.Explanation.Of($"jobs/{id}", input, deferral, providers, now), deferral);
        }
        else
        {
            response.Reasons.Add(new PendingReason { Reason = UpperSnake.Of(job.State), Message = job.StateReason });
        }

        return response;
    }

    public override async Task<PlanJobResponse> PlanJob(PlanJobRequest request, ServerCallContext context)
    {
        string project = Requests.Project(request.Parent);
        if (request.HasPricePerDeviceHour && !(request.PricePerDeviceHour >= 0))
        {
            throw new InvalidRequestException("price_per_device_hour", $"Expected 0 or more, found {request.PricePerDeviceHour}.");
        }

        var job = await submission.CheckAsync(project, request.Spec, "", mustFit: false, context.CancellationToken);
        var plan = planning.Plan(
            job.Workload with { Parallelism = job.Written.Parallelism, Training = job.Written.Training },
            request.Cluster, request.HasPricePerDeviceHour ? request.PricePerDeviceHour : null);
        var response = plan is null
            ? new PlanJobResponse { Notes = { "The shape of the model or of the cluster is not known here, so nothing is predicted." } }
            : JobMessages.Parse<PlanJobResponse>(PlanJson.Response(plan).ToJsonString());
        if (request.Cluster is null && !job.Workload.Parallelism.Auto && submission.WhyInfeasible(job.Shape) is { } reason)
        {
            response.Notes.Add($"It would be refused: {reason.Message}");
        }

        return response;
    }

    /// <summary>Reads and checks either kind of job: its name, its canonical form, what is predicted of it, and how its gang is made.</summary>
    private async Task<(string Name, string Spec, string? Predicted, Func<string, string, string?, DateTimeOffset, GangState> GangOf)> ReadAsync(
        string project, CreateJobRequest request, CancellationToken cancellationToken)
    {
        if (request.Spec is { Kind: CommandJobReader.CommandJob } spec)
        {
            var command = submission.CheckCommand(spec, request.RequestId);
            return (command.Name, CommandJobReader.ToJson(command).ToJsonString(), null, (id, user, trace, now) => JobSubmission.GangOf(id, project, command, user, trace, now));
        }

        var job = await submission.CheckAsync(project, request.Spec, request.RequestId, mustFit: true, cancellationToken);
        var plan = planning.Plan(job.Workload, null, null);
        TimeSpan? time = plan is { TotalSeconds: > 0 and < 1e9 } ? TimeSpan.FromSeconds(plan.TotalSeconds) : null;
        string? predicted = plan is null ? null : PlanJson.Figures(plan).ToJsonString();
        return (
            job.Written.Name, JobSpecWriter.ToJson(job.Written).ToJsonString(), predicted,
            (id, user, trace, now) => JobSubmission.GangOf(id, project, job, user, trace, now) with { PredictedRuntime = time });
    }

    private static bool IsOver(GangStage stage) => stage is GangStage.Succeeded or GangStage.Failed or GangStage.Cancelled;

    private async Task<Job> ChangeAsync(string name, GangEvent happened, Func<GangStage, string?> refuse, CancellationToken cancellationToken)
    {
        var (project, id) = Requests.Name(name, "jobs");
        var (_, gang) = await jobs.GetAsync(project, id, cancellationToken);
        if (refuse(gang.Stage) is { } reason)
        {
            throw new FailedPreconditionException("JOB_ENDED", $"{name} cannot be changed: {reason}.");
        }

        await loop.RunAsync(control => control.Plane.Apply($"jobs/{id}", happened, control.Now).Count, cancellationToken);
        return (await jobs.GetAsync(project, id, cancellationToken)).Job;
    }

    private async Task<string?> ReplayAsync(string project, string requestId, string digest, CancellationToken cancellationToken) =>
        requestId.Length == 0 ? null : await loop.RunAsync(control => FindRequestAsync(control, project, requestId, digest, cancellationToken), cancellationToken);

    private static async Task<string?> FindRequestAsync(ControlContext control, string project, string requestId, string digest, CancellationToken cancellationToken)
    {
        if (requestId.Length == 0)
        {
            return null;
        }

        var row = await control.Db.Requests.AsNoTracking().SingleOrDefaultAsync(known => known.Scope == $"{project}/jobs" && known.RequestId == requestId, cancellationToken);
        if (row is not null && row.Digest != digest)
        {
            throw new AlreadyExistsException(
                ResourceNames.Job(project, row.Resource), $"Request {requestId} created {row.Resource} from another spec; use a new request_id for a new job.");
        }

        // The batch may hold the same request twice, the first not committed yet.
        return row?.Resource ?? control.Created.GetValueOrDefault(requestId);
    }
}
