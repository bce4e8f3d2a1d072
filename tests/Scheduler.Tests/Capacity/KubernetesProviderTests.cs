using Platform.Scheduler.Adapters.Capacity;
using Platform.Scheduling.Capacity;
using Platform.Testing;
using Xunit;

namespace Platform.Scheduler.Tests.Capacity;

public sealed class KubernetesProviderTests : IDisposable
{
    private static readonly NodeGroup Group = new() { Name = "burst", Provider = "kubernetes", MaxNodes = 2, Devices = 3, Topology = new Dictionary<string, string> { ["rack"] = "r1" }, Spot = true };
    private readonly TemporaryDirectory directory = new();

    public void Dispose() => directory.Dispose();

    [Fact]
    public async Task Gives_each_node_a_pod_of_its_name_once_and_takes_it_away()
    {
        await using var server = await FakeApiServer.StartAsync();
        await using var provider = Provider(server);
        var node = new ManagedNode("burst-1", "burst", ManagedNodePhase.Asked, DateTimeOffset.UnixEpoch) { Cluster = "jobs/own" };
        await provider.CreateAsync(node, Group, CancellationToken.None);
        await provider.CreateAsync(node, Group, CancellationToken.None);

        var pod = Assert.Single(server.Pods).Value;
        Assert.Equal("platform", (string?)pod["metadata"]?["labels"]?["platform/installation"]);
        Assert.Equal("worker", (string?)pod["metadata"]?["labels"]?["app"]);
        Assert.Equal("Never", (string?)pod["spec"]?["restartPolicy"]);
        var environment = pod["spec"]!["containers"]![0]!["env"]!.AsArray().ToDictionary(entry => (string)entry!["name"]!, entry => (string?)entry!["value"]);
        Assert.Equal(
            ("burst-1", "burst", "true", "jobs/own", "3", "r1", "kept"),
            (environment["Agent__Node"], environment["Agent__Group"], environment["Agent__Spot"], environment["Agent__Cluster"], environment["Agent__Devices"],
            environment["Agent__Topology__rack"], environment["OTHER"]));

        Assert.Equal(new ProvidedNode("burst-1", "Kubernetes: 0/3 nodes are available."), Assert.Single(await provider.ListAsync(CancellationToken.None)));
        await provider.RemoveAsync("burst-1", CancellationToken.None);
        await provider.RemoveAsync("burst-1", CancellationToken.None);
        Assert.Empty(await provider.ListAsync(CancellationToken.None));
    }

    [Fact]
    public async Task Says_why_a_pod_is_refused()
    {
        await using var server = await FakeApiServer.StartAsync();
        server.Refusal = "exceeded quota: gpus";
        await using var provider = Provider(server);

        var refused = await Assert.ThrowsAsync<CapacityRefusedException>(() =>
            provider.CreateAsync(new ManagedNode("burst-1", "burst", ManagedNodePhase.Asked, DateTimeOffset.UnixEpoch), Group, CancellationToken.None));

        Assert.Equal("The API server refuses pod burst-1: exceeded quota: gpus", refused.Message);
    }

    [Fact]
    public async Task A_pod_that_has_ended_is_no_node_and_is_removed()
    {
        await using var server = await FakeApiServer.StartAsync();
        await using var provider = Provider(server);
        await provider.CreateAsync(new ManagedNode("burst-1", "burst", ManagedNodePhase.Asked, DateTimeOffset.UnixEpoch), Group, CancellationToken.None);
        server.Pods["burst-1"]["status"]!["phase"] = "Failed";

        Assert.Empty(await provider.ListAsync(CancellationToken.None));
        Assert.Empty(server.Pods);
    }

    [Fact]
    public void Wrong_groups_are_refused_with_their_keys()
    {
        var options = new ProviderOptions { Groups = [new NodeGroupOptions { Name = "Not a name", Provider = "cloud", MinNodes = 3 }, new NodeGroupOptions { Name = "local", Provider = "local", MaxNodes = 1 }] };

        Assert.Equal(
            ["Groups:0:Name", "Groups:0:Provider", "Groups:0:MaxNodes", "Groups:0:MinNodes", "Local:Directory", "Local:Command"],
            new SchedulerOptions { Capacity = options }.Validate().Select(violation => violation.Field["Capacity:".Length..]));
    }

    private KubernetesProvider Provider(FakeApiServer server)
    {
        string file = directory.File("pod.yaml");
        File.WriteAllText(file, """
            apiVersion: v1
            kind: Pod
            metadata: { labels: { app: worker } }
            spec: { containers: [ { name: agent, image: worker, env: [ { name: OTHER, value: kept }, { name: Agent__Node, value: replaced } ] } ] }
            """);
        return new KubernetesProvider(new SchedulerOptions
        {
            Capacity = new ProviderOptions { Kubernetes = new KubernetesProviderOptions { PodFile = file, Server = server.Address } },
        });
    }
}
