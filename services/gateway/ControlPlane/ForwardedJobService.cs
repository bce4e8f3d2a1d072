using Grpc.Core;
using Platform.V1;

namespace Platform.Gateway.ControlPlane;

/// <summary>The public service for jobs, answered by the scheduler.</summary>
public sealed class ForwardedJobService(JobService.JobServiceClient scheduler, Forwarder forward) : JobService.JobServiceBase
{
    /// <inheritdoc/>
    public override Task<Job> CreateJob(CreateJobRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.CreateJobAsync);

    /// <inheritdoc/>
    public override Task<Job> GetJob(GetJobRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.GetJobAsync);

    /// <inheritdoc/>
    public override Task<ListJobsResponse> ListJobs(ListJobsRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.ListJobsAsync);

    /// <inheritdoc/>
    public override Task<Job> CancelJob(CancelJobRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.CancelJobAsync);

    /// <inheritdoc/>
    public override Task<Job> PauseJob(PauseJobRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.PauseJobAsync);

    /// <inheritdoc/>
    public override Task<Job> ResumeJob(ResumeJobRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.ResumeJobAsync);

    /// <inheritdoc/>
    public override Task<Job> UpdateJob(UpdateJobRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.UpdateJobAsync);

    /// <inheritdoc/>
    public override Task<GetMetricsResponse> GetMetrics(GetMetricsRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.GetMetricsAsync);

    /// <inheritdoc/>
    public override Task<ExplainJobResponse> ExplainJob(ExplainJobRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.ExplainJobAsync);

    /// <inheritdoc/>
    public override Task<PlanJobResponse> PlanJob(PlanJobRequest request, ServerCallContext context) =>
        forward.UnaryAsync(request, context, scheduler.PlanJobAsync);

    /// <inheritdoc/>
    public override Task WatchJob(WatchJobRequest request, IServerStreamWriter<WatchJobResponse> responseStream, ServerCallContext context) =>
        forward.StreamAsync(request, responseStream, context, scheduler.WatchJob);

    /// <inheritdoc/>
    public override Task StreamLogs(StreamLogsRequest request, IServerStreamWriter<StreamLogsResponse> responseStream, ServerCallContext context) =>
        forward.StreamAsync(request, responseStream, context, scheduler.StreamLogs);

    /// <inheritdoc/>
    public override Task GetTrace(GetTraceRequest request, IServerStreamWriter<GetTraceResponse> responseStream, ServerCallContext context) =>
        forward.StreamAsync(request, responseStream, context, scheduler.GetTrace);
}
