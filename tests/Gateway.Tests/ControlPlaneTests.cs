using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Google.Rpc;
using Grpc.Core;
using Grpc.Net.Client;
using Platform.Core.Validation;
using Platform.Hosting.Errors;
using Platform.V1;
using Xunit;

namespace Platform.Gateway.Tests;

/// <summary>Control calls pass through the gateway unchanged, by gRPC and as JSON.</summary>
public sealed class ControlPlaneTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Calls_pass_to_the_scheduler_and_back()
    {
        await using var cluster = await ScriptedCluster.StartAsync();
        using var channel = GrpcChannel.ForAddress(cluster.Grpc);
        var job = await new JobService.JobServiceClient(channel).CreateJobAsync(
            new CreateJobRequest { Parent = "projects/default", Spec = new JobSpec { Name = "demo" } }, cancellationToken: Cancellation);
        Assert.Equal("projects/default/jobs/x", job.Name);
        Assert.Equal(("demo", "default"), (job.Spec.Name, job.User));
    }

    [Fact]
    public async Task The_scheduler_learns_whose_key_a_call_came_with()
    {
        string hash = Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData("secret"u8));
        await using var cluster = await ScriptedCluster.StartAsync($"--Gateway:ApiKeys:acmé={hash}");
        using var channel = GrpcChannel.ForAddress(cluster.Grpc);
        var job = await new JobService.JobServiceClient(channel).CreateJobAsync(
            new CreateJobRequest { Parent = "projects/default", Spec = new JobSpec() }, new Metadata { { "authorization", "Bearer secret" } }, cancellationToken: Cancellation);
        Assert.Equal("acmé", job.User);
    }

    [Fact]
    public async Task Errors_pass_with_all_their_details()
    {
        await using var cluster = await ScriptedCluster.StartAsync();
        cluster.Scheduler.OnCreateJob = _ => throw new InvalidRequestException(
            [new Violation("parallelism.tensor", "Found 3; it must divide 8 heads."), new Violation("name", "Found ''.")]);
        using var channel = GrpcChannel.ForAddress(cluster.Grpc);
        var error = await Assert.ThrowsAsync<RpcException>(async () => await new JobService.JobServiceClient(channel).CreateJobAsync(
            new CreateJobRequest { Parent = "projects/default", Spec = new JobSpec() }, cancellationToken: Cancellation));
        Assert.Equal(StatusCode.InvalidArgument, error.StatusCode);
        var violations = error.GetRpcStatus()?.GetDetail<BadRequest>()?.FieldViolations;
        Assert.NotNull(violations);
        Assert.Equal(["parallelism.tensor", "name"], violations.Select(violation => violation.Field));
    }

    [Fact]
    public async Task Streams_pass_message_by_message_to_their_end()
    {
        await using var cluster = await ScriptedCluster.StartAsync();
        using var channel = GrpcChannel.ForAddress(cluster.Grpc);
        using var call = new JobService.JobServiceClient(channel).WatchJob(new WatchJobRequest { Name = "projects/default/jobs/known" }, cancellationToken: Cancellation);
        var states = new List<JobState>();
        await foreach (var message in call.ResponseStream.ReadAllAsync(Cancellation))
            states.Add(message.Job.State);
        Assert.Equal([JobState.Queued, JobState.Running, JobState.Succeeded], states);
    }

    [Fact]
    public async Task A_gateway_that_stops_ends_its_streams_at_once()
    {
        await using var cluster = await ScriptedCluster.StartAsync();
        using var channel = GrpcChannel.ForAddress(cluster.Grpc);
        using var call = new JobService.JobServiceClient(channel).StreamLogs(
            new StreamLogsRequest { Name = "projects/default/jobs/known", Follow = true }, cancellationToken: Cancellation);
        Assert.True(await call.ResponseStream.MoveNext(Cancellation));
        var stopping = cluster.Gateway.StopAsync(Cancellation);
        var error = await Assert.ThrowsAsync<RpcException>(() => call.ResponseStream.MoveNext(Cancellation));
        Assert.Equal(StatusCode.Unavailable, error.StatusCode);
        Assert.Contains("stopping", error.Status.Detail, StringComparison.Ordinal);
        await stopping;
    }

    [Fact]
    public async Task Jobs_are_there_as_json()
    {
        await using var cluster = await ScriptedCluster.StartAsync();
        using var http = new HttpClient();
        var job = await http.GetFromJsonAsync<JsonElement>($"{cluster.Http}/api/v1/projects/default/jobs/known", Cancellation);
        Assert.Equal("JOB_STATE_RUNNING", job.GetProperty("state").GetString());
        using var created = await http.PostAsJsonAsync($"{cluster.Http}/api/v1/projects/default/jobs", new { spec = new { name = "demo" } }, Cancellation);
        Assert.Equal(HttpStatusCode.OK, created.StatusCode);
        using var missing = await http.GetAsync($"{cluster.Http}/api/v1/projects/default/jobs/unknown", Cancellation);
        Assert.Equal(HttpStatusCode.NotFound, missing.StatusCode);
    }

    [Fact]
    public async Task What_is_not_in_this_release_says_so()
    {
        await using var cluster = await ScriptedCluster.StartAsync();
        using var channel = GrpcChannel.ForAddress(cluster.Grpc);
        var stat = await Assert.ThrowsAsync<RpcException>(async () => await new ArtifactService.ArtifactServiceClient(channel).StatArtifactsAsync(
            new StatArtifactsRequest(), cancellationToken: Cancellation));
        Assert.Equal(StatusCode.Unimplemented, stat.StatusCode);
    }

    [Fact]
    public async Task Generation_over_grpc_streams_text_tokens_and_usage()
    {
        await using var cluster = await ScriptedCluster.StartAsync();
        await cluster.AddReplicaAsync();
        using var channel = GrpcChannel.ForAddress(cluster.Grpc);
        using var call = new InferenceService.InferenceServiceClient(channel).Generate(
            new GenerateRequest { Model = "projects/default/deployments/fox", Prompt = "the", Sampling = new SamplingParams { MaxTokens = 3 } },
            cancellationToken: Cancellation);
        var messages = new List<GenerateResponse>();
        await foreach (var message in call.ResponseStream.ReadAllAsync(Cancellation))
            messages.Add(message);
        Assert.Equal("t0 t1 t2 ", string.Concat(messages.Select(message => message.Text)));
        Assert.Equal(3, messages[^1].Usage.CompletionTokens);
        Assert.Equal("length", messages[^1].FinishReason);
    }

    [Fact]
    public async Task Metrics_health_and_reflection_answer()
    {
        await using var cluster = await ScriptedCluster.StartAsync();
        await cluster.AddReplicaAsync();
        using var http = new HttpClient();
        using (var answer = await http.PostAsJsonAsync($"{cluster.Http}/v1/completions", new { model = "fox", prompt = "a", max_tokens = 1 }, Cancellation))
            Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        string metrics = await http.GetStringAsync($"{cluster.Http}/metrics", Cancellation);
        Assert.Contains("platform_gateway_requests_total{operation=\"text_completion\",code=\"200\"}", metrics, StringComparison.Ordinal);
        Assert.Contains("platform_gateway_time_to_first_token_seconds_bucket{gen_ai_request_model=\"fox\"", metrics, StringComparison.Ordinal);
        using var ready = await http.GetAsync($"{cluster.Http}/readyz", Cancellation);
        Assert.Equal(HttpStatusCode.OK, ready.StatusCode);
        using var channel = GrpcChannel.ForAddress(cluster.Grpc);
        var health = await new Grpc.Health.V1.Health.HealthClient(channel).CheckAsync(new Grpc.Health.V1.HealthCheckRequest(), cancellationToken: Cancellation);
        Assert.Equal(Grpc.Health.V1.HealthCheckResponse.Types.ServingStatus.Serving, health.Status);
        using var reflection = new Grpc.Reflection.V1Alpha.ServerReflection.ServerReflectionClient(channel).ServerReflectionInfo(cancellationToken: Cancellation);
        await reflection.RequestStream.WriteAsync(new Grpc.Reflection.V1Alpha.ServerReflectionRequest { ListServices = "" }, Cancellation);
        await reflection.RequestStream.CompleteAsync();
        Assert.True(await reflection.ResponseStream.MoveNext(Cancellation));
        Assert.Contains(reflection.ResponseStream.Current.ListServicesResponse.Service, service => service.Name == "platform.v1.JobService");
    }
}
