using System.Text.Json.Nodes;
using Google.LongRunning;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Platform.Core.Gangs;
using Platform.Formats.Safetensors;
using Platform.Internal.V1;
using Platform.Scheduler.Tests.Fixtures;
using Platform.V1;
using Xunit;

namespace Platform.Scheduler.Tests;

/// <summary>Deployments with adapters and draft models.</summary>
public sealed class AdapterDeploymentTests
{
    [Fact]
    public async Task Adapters_are_found_routed_changed_and_kept()
    {
        await using var cluster = await TestCluster.StartAsync(nodes: 1);
        string sources = Path.GetFullPath(Path.Combine(cluster.ArtifactRoot, "..", "sources"));
        TinyModel.Write(Path.Combine(sources, "base"));
        TinyModel.Write(Path.Combine(sources, "merged"));
        WriteAdapter(Path.Combine(sources, "merged", "adapter"), 8);
        WriteAdapter(Path.Combine(sources, "alone"), 8);
        foreach (var name in new[] { "base", "merged", "alone" })
            await ImportAsync(cluster, name, Path.Combine(sources, name));
        var imported = await cluster.Models.GetModelAsync(new GetModelRequest { Name = "projects/default/models/alone" });
        Assert.Equal(("lora", 32), (imported.Architecture, imported.Parameters));

        var deployment = Deploying(("bot", "merged"), ("poet", "projects/default/models/alone"), ("path", Path.Combine(sources, "alone")));
        deployment.EngineConfig.SpeculativeConfig = new SpeculativeConfig { Method = "draft", Model = "merged" };
        await cluster.Deployments.CreateDeploymentAsync(new CreateDeploymentRequest { Parent = "projects/default", Deployment = deployment });

        using var patience = new CancellationTokenSource(TestCluster.Patience);
        using var routes = new EndpointService.EndpointServiceClient(cluster.Channel).WatchEndpoints(new WatchEndpointsRequest(), cancellationToken: patience.Token);
        var before = await RouteAsync(route => route.Endpoints.Count == 1);
        Assert.Equal(["bot", "poet", "path"], before.Adapters);
        var replica = Assert.Single((await cluster.Deployments.GetDeploymentAsync(new GetDeploymentRequest { Name = "projects/default/deployments/base" })).Replicas);
        var assignment = cluster.Agent("n0").AssignmentOf($"replicas/{replica.Id}");
        Assert.NotNull(assignment);
        var workload = GangJson.Read<ReplicaWorkload>(assignment.Workload);
        Assert.Equal(
            [new AdapterSource("bot", "models/merged/1/adapter"), new AdapterSource("poet", "models/alone/1"), new AdapterSource("path", Path.Combine(sources, "alone"))],
            workload.Adapters);
        Assert.Equal("models/merged/1", workload.DraftDirectory);

        var used = await Assert.ThrowsAsync<RpcException>(async () => await cluster.Models.DeleteModelAsync(new DeleteModelRequest { Name = "projects/default/models/alone" }));
        Assert.Contains("Deployment base serves", used.Status.Detail, StringComparison.Ordinal);

        // The same deployment with other adapters: a replica of the new ones takes over from that of the old ones.
        deployment.EngineConfig.Lora.Adapters.RemoveAt(0);
        await cluster.Deployments.CreateDeploymentAsync(new CreateDeploymentRequest { Parent = "projects/default", Deployment = deployment });
        var after = await RouteAsync(route => route.Adapters.Count == 2);
        Assert.Single(after.Endpoints);

        var update = new UpdateDeploymentRequest
        {
            Deployment = new Deployment { Name = "projects/default/deployments/base", EngineConfig = new EngineConfig { Lora = new LoraConfig { Adapters = { new LoraAdapter { Name = "bot", Model = "alone" } } } } },
            UpdateMask = FieldMask.FromString("engine_config.lora"),
        };
        var updated = await cluster.Deployments.UpdateDeploymentAsync(update);
        Assert.Equal((1, "draft"), (updated.DesiredReplicas, updated.EngineConfig.SpeculativeConfig.Method));
        Assert.Equal(["bot"], (await RouteAsync(route => route.Adapters.Count == 1)).Adapters);

        async Task<DeploymentRoute> RouteAsync(Func<DeploymentRoute, bool> condition)
        {
            while (await routes.ResponseStream.MoveNext(patience.Token))
            {
                if (routes.ResponseStream.Current.Routes.Single() is { Endpoints.Count: > 0 } route && condition(route))
                    return route;
            }

            throw new InvalidOperationException("The routes ended.");
        }
    }

    [Fact]
    public async Task Adapters_and_drafts_that_do_not_fit_are_refused_with_every_reason()
    {
        await using var cluster = await TestCluster.StartAsync(nodes: 1);
        string sources = Path.GetFullPath(Path.Combine(cluster.ArtifactRoot, "..", "sources"));
        TinyModel.Write(Path.Combine(sources, "base"));
        WriteAdapter(Path.Combine(sources, "wide"), 9);
        WriteAdapter(Path.Combine(sources, "good"), 8);
        await ImportAsync(cluster, "base", Path.Combine(sources, "base"));
        await ImportAsync(cluster, "good", Path.Combine(sources, "good"));
        var deployment = Deploying(("a", Path.Combine(sources, "wide")), ("b", "nobody"), ("c", "base"), ("d", "../escape"));
        deployment.EngineConfig.SpeculativeConfig = new SpeculativeConfig { Method = "draft", Model = "small" };
        var refusal = await Assert.ThrowsAsync<RpcException>(async () =>
            await cluster.Deployments.CreateDeploymentAsync(new CreateDeploymentRequest { Parent = "projects/default", Deployment = deployment }));
        Assert.Equal(StatusCode.InvalidArgument, refusal.StatusCode);
        var violations = refusal.GetRpcStatus()?.GetDetail<Google.Rpc.BadRequest>()?.FieldViolations.ToDictionary(violation => violation.Field, violation => violation.Description) ?? [];
        Assert.Contains("found shape [2, 9]; with rank 2 on this base model [2, 8] is expected", violations["deployment.engine_config.lora.adapters[0].model"], StringComparison.Ordinal);
        foreach (var i in new[] { 1, 2, 3 })
            Assert.Contains("is neither a registered model of the project with an adapter nor the absolute path", violations[$"deployment.engine_config.lora.adapters[{i}].model"], StringComparison.Ordinal);
        Assert.Contains("is neither a registered model of the project nor the absolute path", violations["deployment.engine_config.speculative_config.model"], StringComparison.Ordinal);

        var adapterAlone = await Assert.ThrowsAsync<RpcException>(async () => await cluster.Deployments.CreateDeploymentAsync(
            new CreateDeploymentRequest { Parent = "projects/default", Deployment = new Deployment { Model = "good" } }));
        Assert.Contains("is an adapter; name it in engine_config.lora.adapters", adapterAlone.Status.Detail, StringComparison.Ordinal);

        await cluster.Deployments.CreateDeploymentAsync(new CreateDeploymentRequest { Parent = "projects/default", Deployment = Deploying(("bot", "good")) });
        var taken = await Assert.ThrowsAsync<RpcException>(async () => await cluster.Deployments.CreateDeploymentAsync(
            new CreateDeploymentRequest { Parent = "projects/default", DeploymentId = "bot", Deployment = Deploying(("base2", "good")) }));
        Assert.Contains("'bot' is an adapter of the deployment base", taken.Status.Detail, StringComparison.Ordinal);
    }

    private static Deployment Deploying(params (string Name, string Model)[] adapters)
    {
        var lora = new LoraConfig();
        lora.Adapters.AddRange(adapters.Select(adapter => new LoraAdapter { Name = adapter.Name, Model = adapter.Model }));
        return new Deployment { Model = "base", EngineConfig = new EngineConfig { Lora = lora } };
    }

    private static async Task ImportAsync(TestCluster cluster, string id, string path)
    {
        var started = await cluster.Models.ImportModelAsync(new ImportModelRequest { Parent = "projects/default", ModelId = id, Path = path });
        var operation = await new Operations.OperationsClient(cluster.Channel).WaitOperationAsync(new WaitOperationRequest { Name = started.Name });
        Assert.Null(operation.Error);
    }

    private static void WriteAdapter(string directory, int inputs)
    {
        Directory.CreateDirectory(directory);
        File.WriteAllText(Path.Combine(directory, "adapter_config.json"), new JsonObject
        {
            ["peft_type"] = "LORA",
            ["r"] = 2,
            ["lora_alpha"] = 4,
            ["target_modules"] = new JsonArray("q_proj"),
        }.ToJsonString());
        const string prefix = "base_model.model.model.layers.0.self_attn.q_proj.";
        using var writer = SafetensorsWriter.Create(
            Path.Combine(directory, "adapter_model.safetensors"),
            [new TensorDeclaration(prefix + "lora_A.weight", TensorDataType.F32, [2, inputs]), new TensorDeclaration(prefix + "lora_B.weight", TensorDataType.F32, [8, 2])],
            null);
        writer.Write(prefix + "lora_A.weight", new byte[8 * inputs]);
        writer.Write(prefix + "lora_B.weight", new byte[64]);
        writer.Commit();
    }
}
