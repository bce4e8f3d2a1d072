using Google.LongRunning;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Platform.V1;

namespace Platform.Cli.Tests.Scripted;

internal sealed class ScriptedJobs(Script script) : JobService.JobServiceBase
{
    public override Task<Job> CreateJob(CreateJobRequest request, ServerCallContext context) => script.AnswerAsync<Job>(request);

    public override Task<Job> GetJob(GetJobRequest request, ServerCallContext context) => script.AnswerAsync<Job>(request);

    public override Task<ListJobsResponse> ListJobs(ListJobsRequest request, ServerCallContext context) => script.AnswerAsync<ListJobsResponse>(request);

    public override Task<Job> CancelJob(CancelJobRequest request, ServerCallContext context) => script.AnswerAsync<Job>(request);

    public override Task<Job> PauseJob(PauseJobRequest request, ServerCallContext context) => script.AnswerAsync<Job>(request);

    public override Task<Job> ResumeJob(ResumeJobRequest request, ServerCallContext context) => script.AnswerAsync<Job>(request);

    public override Task<GetMetricsResponse> GetMetrics(GetMetricsRequest request, ServerCallContext context) => script.AnswerAsync<GetMetricsResponse>(request);

    public override Task<ExplainJobResponse> ExplainJob(ExplainJobRequest request, ServerCallContext context) => script.AnswerAsync<ExplainJobResponse>(request);

    public override Task<PlanJobResponse> PlanJob(PlanJobRequest request, ServerCallContext context) => script.AnswerAsync<PlanJobResponse>(request);

    public override Task WatchJob(WatchJobRequest request, IServerStreamWriter<WatchJobResponse> responseStream, ServerCallContext context) =>
        script.StreamAsync(request, responseStream, context);

    public override Task GetTrace(GetTraceRequest request, IServerStreamWriter<GetTraceResponse> responseStream, ServerCallContext context) =>
        script.StreamAsync(request, responseStream, context);

    public override Task StreamLogs(StreamLogsRequest request, IServerStreamWriter<StreamLogsResponse> responseStream, ServerCallContext context) =>
        script.StreamAsync(request, responseStream, context);
}

internal sealed class ScriptedModels(Script script) : ModelService.ModelServiceBase
{
    public override Task<ListModelsResponse> ListModels(ListModelsRequest request, ServerCallContext context) => script.AnswerAsync<ListModelsResponse>(request);

    public override Task<Model> GetModel(GetModelRequest request, ServerCallContext context) => script.AnswerAsync<Model>(request);

    public override Task<Operation> ImportModel(ImportModelRequest request, ServerCallContext context) => script.AnswerAsync<Operation>(request);

    public override Task<Operation> ExportModel(ExportModelRequest request, ServerCallContext context) => script.AnswerAsync<Operation>(request);

    public override Task<Empty> DeleteModel(DeleteModelRequest request, ServerCallContext context) => script.AnswerAsync<Empty>(request);
}

internal sealed class ScriptedDeployments(Script script) : DeploymentService.DeploymentServiceBase
{
    public override Task<Deployment> CreateDeployment(CreateDeploymentRequest request, ServerCallContext context) => script.AnswerAsync<Deployment>(request);

    public override Task<Deployment> GetDeployment(GetDeploymentRequest request, ServerCallContext context) => script.AnswerAsync<Deployment>(request);

    public override Task<ListDeploymentsResponse> ListDeployments(ListDeploymentsRequest request, ServerCallContext context) => script.AnswerAsync<ListDeploymentsResponse>(request);

    public override Task<Deployment> UpdateDeployment(UpdateDeploymentRequest request, ServerCallContext context) => script.AnswerAsync<Deployment>(request);

    public override Task<Empty> DeleteDeployment(DeleteDeploymentRequest request, ServerCallContext context) => script.AnswerAsync<Empty>(request);

    public override Task WatchDeployment(WatchDeploymentRequest request, IServerStreamWriter<WatchDeploymentResponse> responseStream, ServerCallContext context) =>
        script.StreamAsync(request, responseStream, context);
}

internal sealed class ScriptedCluster(Script script) : ClusterService.ClusterServiceBase
{
    public override Task<ListNodesResponse> ListNodes(ListNodesRequest request, ServerCallContext context) => script.AnswerAsync<ListNodesResponse>(request);

    public override Task<Node> DrainNode(DrainNodeRequest request, ServerCallContext context) => script.AnswerAsync<Node>(request);

    public override Task<Node> UndrainNode(UndrainNodeRequest request, ServerCallContext context) => script.AnswerAsync<Node>(request);

    public override Task<QueryUsageResponse> QueryUsage(QueryUsageRequest request, ServerCallContext context) => script.AnswerAsync<QueryUsageResponse>(request);

    public override Task<Queue> UpdateQueue(UpdateQueueRequest request, ServerCallContext context) => script.AnswerAsync<Queue>(request);

    public override Task<ListQueuesResponse> ListQueues(ListQueuesRequest request, ServerCallContext context) => script.AnswerAsync<ListQueuesResponse>(request);
}

internal sealed class ScriptedInference(Script script) : InferenceService.InferenceServiceBase
{
    public override Task Generate(GenerateRequest request, IServerStreamWriter<GenerateResponse> responseStream, ServerCallContext context) =>
        script.StreamAsync(request, responseStream, context);

    public override Task Chat(ChatRequest request, IServerStreamWriter<ChatResponse> responseStream, ServerCallContext context) =>
        script.StreamAsync(request, responseStream, context);

    public override Task<CompareResponse> Compare(CompareRequest request, ServerCallContext context) => script.AnswerAsync<CompareResponse>(request);
}

internal sealed class ScriptedOperations(Script script) : Operations.OperationsBase
{
    public override Task<Operation> GetOperation(GetOperationRequest request, ServerCallContext context) => script.AnswerAsync<Operation>(request);
}
