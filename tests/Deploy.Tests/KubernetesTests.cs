using Xunit;

namespace Platform.Deploy.Tests;

/// <summary>The manifests of worker pods allow what the scheduler does, and no more.</summary>
public sealed class KubernetesTests
{
    private const string Folder = "deploy/kubernetes/capacity";

    [Fact]
    public void The_role_has_the_verbs_that_the_provider_uses()
    {
        string provider = Repository.Read("services/scheduler/Adapters/Capacity/KubernetesProvider.cs");
        string[] used = [.. new[] { ("create", "CreateNamespacedPodAsync"), ("delete", "DeleteNamespacedPodAsync"), ("list", "ListNamespacedPodAsync") }
            .Where(verb => provider.Contains(verb.Item2, StringComparison.Ordinal)).Select(verb => verb.Item1)];

        Assert.Equal(["create", "delete", "list"], used);
        Assert.Contains("verbs: [create, delete, get, list]", Repository.Read($"{Folder}/access.yaml"), StringComparison.Ordinal);
    }

    [Fact]
    public void The_manifests_render_and_hold_the_worker_pod()
    {
        Assert.SkipUnless(File.Exists("/usr/bin/kubectl"), "kubectl (Debian kubernetes-client) is not installed.");
        using var kubectl = System.Diagnostics.Process.Start(new System.Diagnostics.ProcessStartInfo("/usr/bin/kubectl", ["kustomize", Repository.At(Folder)]) { RedirectStandardOutput = true })!;
        string rendered = kubectl.StandardOutput.ReadToEnd();
        kubectl.WaitForExit();

        Assert.Equal(0, kubectl.ExitCode);
        Assert.All(
            ["kind: ServiceAccount", "kind: Role", "kind: RoleBinding", "worker-pod.yaml: |", "namespace: platform"],
            part => Assert.Contains(part, rendered, StringComparison.Ordinal));
    }
}
