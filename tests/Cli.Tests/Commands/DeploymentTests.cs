using Google.Protobuf.WellKnownTypes;
using Platform.Cli.Tests.Scripted;
using Platform.V1;
using Xunit;

namespace Platform.Cli.Tests.Commands;

public sealed class DeploymentTests
{
    private const string File = """
        kind: Deployment
        model: docs-lm
        deployment_config: { autoscaling: { min_replicas: 1, max_replicas: 2 }, max_queued_requests: 9 }
        engine_config: { kv_cache_bytes: 64MiB, dtype: fp32 }
        """;

    private static Deployment Deployed(DeploymentState state, int ready = 0, string reason = "") => new()
    {
        Name = "projects/default/deployments/docs-lm",
        Model = "projects/default/models/docs-lm",
        State = state,
        DesiredReplicas = 1,
        ReadyReplicas = ready,
        StateReason = reason,
        Etag = "e1",
        DeploymentConfig = new DeploymentConfig { MaxQueuedRequests = 9, Autoscaling = new AutoscalingConfig { MinReplicas = 1, InitialReplicas = 1, MaxReplicas = 2 } },
    };

    [Fact]
    public async Task Creates_a_deployment_and_prints_its_name_last()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.On<CreateDeploymentRequest, Deployment>(_ => Deployed(DeploymentState.Starting));
        using var cli = new CommandLine(platform.Address);
        cli.Write("d.yaml", File);

        var run = await cli.RunAsync("deploy", "d.yaml", "--set", "engine_config.max_num_seqs=4", "--name", "docs");

        Assert.Equal((0, "projects/default/deployments/docs-lm\n", ""), (run.Code, run.Output, run.Error));
        var request = platform.Script.Only<CreateDeploymentRequest>();
        Assert.Equal(("docs", "projects/default/models/docs-lm"), (request.DeploymentId, request.Deployment.Model));
        Assert.Equal((4, "64MiB", "fp32"), (request.Deployment.EngineConfig.MaxNumSeqs, request.Deployment.EngineConfig.KvCacheBytes, request.Deployment.EngineConfig.Dtype));
        Assert.Equal((2, 9), (request.Deployment.DeploymentConfig.Autoscaling.MaxReplicas, request.Deployment.DeploymentConfig.MaxQueuedRequests));
    }

    [Fact]
    public async Task Reports_everything_wrong_with_a_file()
    {
        using var cli = new CommandLine();
        cli.Write("d.yaml", "kind: Deployment\nmodel: Docs LM\nengine_config: { block_siz: 2 }\nscaling_config: { device: cuda }\n");

        var run = await cli.RunAsync("deploy", "d.yaml");

        Assert.Equal(1, run.Code);
        Assert.Equal(
            [
                "d.yaml:2: model: \"Docs LM\" is not a name; use 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends.",
                "d.yaml:3: engine_config.block_siz: This key is not known; did you mean engine_config.block_size?",
                "d.yaml:4: scaling_config.device: CUDA devices are not available yet; use cpu.",
                "3 errors in d.yaml; nothing was submitted.",
            ],
            run.ErrorLines);
    }

    [Theory]
    [InlineData(DeploymentState.Ready, 0)]
    [InlineData(DeploymentState.Failed, 1)]
    public async Task Waits_until_it_is_decided(DeploymentState end, int code)
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script
            .On<CreateDeploymentRequest, Deployment>(_ => Deployed(DeploymentState.Starting))
            .OnStream<WatchDeploymentRequest, WatchDeploymentResponse>(
                new WatchDeploymentResponse { Deployment = Deployed(DeploymentState.Starting) },
                new WatchDeploymentResponse { Deployment = Deployed(DeploymentState.Starting) },
                new WatchDeploymentResponse { Deployment = Deployed(end, 1, "why") });
        using var cli = new CommandLine(platform.Address);
        cli.Write("d.yaml", File);

        var run = await cli.RunAsync("deploy", "d.yaml", "--watch");

        Assert.Equal(code, run.Code);
        var last = end == DeploymentState.Ready ? "ready  1/1 replicas ready" : "failed  1/1 replicas ready: why";
        Assert.Equal(
            ["starting  0/1 replicas ready", last, "projects/default/deployments/docs-lm"],
            run.OutputLines);
    }

    [Fact]
    public async Task Waits_for_a_deployment_that_a_job_made()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.OnStream<WatchDeploymentRequest, WatchDeploymentResponse>(
            new WatchDeploymentResponse { Deployment = Deployed(DeploymentState.Starting) }, new WatchDeploymentResponse { Deployment = Deployed(DeploymentState.Ready, 1) });
        using var cli = new CommandLine(platform.Address);

        var run = await cli.RunAsync("deployments", "get", "docs-lm", "--wait");

        Assert.Equal((0, "starting  0/1 replicas ready\nready  1/1 replicas ready\n"), (run.Code, run.Output));
    }

    [Fact]
    public async Task Scaling_changes_the_number_of_replicas_and_nothing_else()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.On<UpdateDeploymentRequest, Deployment>(request => new Deployment(Deployed(DeploymentState.Starting, 1)) { DesiredReplicas = request.Deployment.DesiredReplicas });
        using var cli = new CommandLine(platform.Address);

        var run = await cli.RunAsync("deployments", "scale", "docs-lm", "3");

        Assert.Equal((0, "projects/default/deployments/docs-lm: 3 replicas wanted, 1 ready\n"), (run.Code, run.Output));
        var request = platform.Script.Only<UpdateDeploymentRequest>();
        Assert.Equal(["desired_replicas"], request.UpdateMask.Paths);
        Assert.Equal(new Deployment { Name = "projects/default/deployments/docs-lm", DesiredReplicas = 3 }, request.Deployment);
    }

    [Theory]
    [InlineData("-1")]
    [InlineData("many")]
    public async Task Refuses_a_number_of_replicas_that_is_none(string count)
    {
        using var cli = new CommandLine();

        var run = await cli.RunAsync("deployments", "scale", "docs-lm", "--", count);

        Assert.Equal(1, run.Code);
        Assert.Contains(count, run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Lists_shows_and_deletes()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        var deployment = Deployed(DeploymentState.Ready, 1);
        deployment.Replicas.Add(new Replica { Id = "docs-lm-1", State = "ready", Node = "node-1", Endpoint = "http://127.0.0.1:1" });
        platform.Script
            .On<ListDeploymentsRequest, ListDeploymentsResponse>(_ => new ListDeploymentsResponse { Deployments = { deployment } })
            .On<GetDeploymentRequest, Deployment>(_ => deployment)
            .On<DeleteDeploymentRequest, Empty>(_ => new Empty());
        using var cli = new CommandLine(platform.Address);

        Assert.Contains("docs-lm     ready  1/1       docs-lm  -", (await cli.RunAsync("deployments", "list")).OutputLines);
        Assert.Contains("docs-lm-1  ready  node-1  http://127.0.0.1:1", (await cli.RunAsync("deployments", "get", "docs-lm")).OutputLines);
        Assert.Equal("Deleted projects/default/deployments/docs-lm\n", (await cli.RunAsync("deployments", "delete", "docs-lm")).Output);
    }
}
