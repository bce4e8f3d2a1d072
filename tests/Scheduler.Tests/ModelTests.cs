using Grpc.Core;
using Google.LongRunning;
using Platform.Internal.V1;
using Platform.Scheduler.Tests.Fixtures;
using Platform.V1;
using Xunit;

namespace Platform.Scheduler.Tests;

/// <summary>From a finished job or an import to replicas that answer.</summary>
public sealed class ModelTests
{
    [Fact]
    public async Task Registers_a_model_once_and_deploys_it_when_the_job_says_so()
    {
        await using var cluster = await TestCluster.StartAsync();
        var job = await cluster.CreateAsync(cluster.Spec(extra: ""","output":{"register_as":"docs","deploy":{"scaling_config":{"devices_per_replica":1}}}"""));
        var running = await cluster.WaitForAsync(job.Name, JobState.Running);
        string gang = TestCluster.GangOf(running);
        TinyModel.Write(Path.Combine(cluster.ArtifactRoot, gang, "1", "model"));
        var request = new RegisterModelRequest { Gang = gang, Attempt = 1, ModelId = "docs", Directory = $"{gang}/1/model", FinalLoss = 2.5 };
        var first = await cluster.Agent("n0").Nodes.RegisterModelAsync(request);
        Assert.Equal(first, await cluster.Agent("n0").Nodes.RegisterModelAsync(request));
        var stale = await Assert.ThrowsAsync<RpcException>(async () => await cluster.Agent("n0").Nodes.RegisterModelAsync(new RegisterModelRequest(request) { Attempt = 7 }));
        Assert.Equal(StatusCode.FailedPrecondition, stale.StatusCode);
        await cluster.SucceedAllAsync(running);

        Assert.Equal("projects/default/models/docs", (await cluster.WaitForAsync(job.Name, JobState.Succeeded)).Model);
        var model = await cluster.Models.GetModelAsync(new GetModelRequest { Name = "projects/default/models/docs" });
        Assert.Equal((1, "llama", 32, 2.5, job.Name), (model.Version, model.Architecture, model.ContextLength, model.FinalLoss, model.SourceJob));
        Assert.Equal(TinyModel.Config.ParameterCount, model.Parameters);
        var deployment = await ReadyAsync(cluster, "docs");
        Assert.StartsWith("http://n", Assert.Single(deployment.Replicas).Endpoint, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Imports_deploys_routes_scales_sleeps_wakes_and_deletes()
    {
        await using var cluster = await TestCluster.StartAsync(nodes: 1);
        string source = Path.Combine(cluster.ArtifactRoot, "..", "source");
        TinyModel.Write(source);
        var operation = await ImportAsync(cluster, Path.GetFullPath(source));
        Assert.Null(operation.Error);
        Assert.True(File.Exists(Path.Combine(operation.Response.Unpack<Model>().Path, "config.json")));
        await cluster.Deployments.CreateDeploymentAsync(new CreateDeploymentRequest { Parent = "projects/default", Deployment = new Deployment { Model = "projects/default/models/tiny" } });
        await ReadyAsync(cluster, "tiny");

        using var patience = new CancellationTokenSource(TestCluster.Patience);
        using var routes = new EndpointService.EndpointServiceClient(cluster.Channel).WatchEndpoints(new WatchEndpointsRequest(), cancellationToken: patience.Token);
        await RoutesAsync(1);
        await ScaleAsync(cluster, 2);
        await RoutesAsync(2);
        await ScaleAsync(cluster, 0);
        await RoutesAsync(0);
        await UntilAsync(cluster, deployment => deployment.State == DeploymentState.Asleep);
        await new EndpointService.EndpointServiceClient(cluster.Channel).WakeDeploymentAsync(new WakeDeploymentRequest { DeploymentId = "tiny" });
        await RoutesAsync(1);

        var used = await Assert.ThrowsAsync<RpcException>(async () => await cluster.Models.DeleteModelAsync(new DeleteModelRequest { Name = "projects/default/models/tiny" }));
        Assert.Equal(StatusCode.FailedPrecondition, used.StatusCode);
        await cluster.Deployments.DeleteDeploymentAsync(new DeleteDeploymentRequest { Name = "projects/default/deployments/tiny" });
        await TestCluster.UntilAsync(async () => (await cluster.Deployments.ListDeploymentsAsync(new ListDeploymentsRequest { Parent = "projects/default" })).Deployments.Count == 0);
        await cluster.Models.DeleteModelAsync(new DeleteModelRequest { Name = "projects/default/models/tiny" });
        Assert.Empty((await cluster.Models.ListModelsAsync(new ListModelsRequest { Parent = "projects/default" })).Models);

        async Task RoutesAsync(int endpoints)
        {
            while (await routes.ResponseStream.MoveNext(patience.Token))
            {
                var route = routes.ResponseStream.Current.Routes.Single();
                Assert.Equal(("tiny", 32), (route.DeploymentId, route.ContextLength));
                if (route.Endpoints.Count == endpoints)
                {
                    return;
                }
            }
        }
    }

    [Fact]
    public async Task Refuses_to_import_a_truncated_model_and_leaves_nothing_behind()
    {
        await using var cluster = await TestCluster.StartAsync(nodes: 0);
        string source = Path.GetFullPath(Path.Combine(cluster.ArtifactRoot, "..", "damaged"));
        TinyModel.Write(source);
        string weights = Path.Combine(source, "model.safetensors");
        await using (var file = File.OpenWrite(weights))
        {
            file.SetLength(file.Length - 100);
        }

        var operation = await ImportAsync(cluster, source);
        Assert.Equal((int)StatusCode.FailedPrecondition, operation.Error.Code);
        Assert.Contains("damaged", operation.Error.Message, StringComparison.Ordinal);
        Assert.Empty((await cluster.Models.ListModelsAsync(new ListModelsRequest { Parent = "projects/default" })).Models);
        Assert.Empty(Directory.EnumerateFileSystemEntries(cluster.ArtifactRoot));
    }

    private static async Task<Operation> ImportAsync(TestCluster cluster, string path)
    {
        var started = await cluster.Models.ImportModelAsync(new ImportModelRequest { Parent = "projects/default", ModelId = "tiny", Path = path });
        return await new Operations.OperationsClient(cluster.Channel).WaitOperationAsync(new WaitOperationRequest { Name = started.Name });
    }

    private static async Task ScaleAsync(TestCluster cluster, int replicas) => await cluster.Deployments.UpdateDeploymentAsync(
        new UpdateDeploymentRequest { Deployment = new Deployment { Name = "projects/default/deployments/tiny", DesiredReplicas = replicas } });

    private static async Task<Deployment> ReadyAsync(TestCluster cluster, string id)
    {
        Deployment? seen = null;
        await TestCluster.UntilAsync(async () =>
        {
            var all = await cluster.Deployments.ListDeploymentsAsync(new ListDeploymentsRequest { Parent = "projects/default" });
            seen = all.Deployments.FirstOrDefault(deployment => deployment.Name.EndsWith($"/{id}", StringComparison.Ordinal));
            return seen is { State: DeploymentState.Ready, ReadyReplicas: > 0 };
        });
        return seen!;
    }

    private static Task UntilAsync(TestCluster cluster, Func<Deployment, bool> expected) => TestCluster.UntilAsync(async () =>
        expected(await cluster.Deployments.GetDeploymentAsync(new GetDeploymentRequest { Name = "projects/default/deployments/tiny" })));
}
