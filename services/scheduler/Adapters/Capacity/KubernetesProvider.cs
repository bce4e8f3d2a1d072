using System.Net;
using System.Text.Json;
using k8s;
using k8s.Autorest;
using k8s.Models;
using Platform.Scheduling.Capacity;

namespace Platform.Scheduler.Adapters.Capacity;

/// <summary>
/// Node agents as pods, one for each node and named like it. What a pod is made of is the operator's: a file holds one, to
/// which name, labels and the agent's settings are added.
/// </summary>
internal sealed class KubernetesProvider(SchedulerOptions options) : ICapacityProvider
{
    private const string InstallationLabel = "platform/installation";
    private const string GroupLabel = "platform/node-group";
    private readonly Lazy<Kubernetes> connection = new(() => Connect(options.Capacity.Kubernetes));

    /// <inheritdoc/>
    public string Name => NodeGroupOptions.Kubernetes;

    private KubernetesProviderOptions Settings => options.Capacity.Kubernetes;

    /// <inheritdoc/>
    public async Task<IReadOnlyList<ProvidedNode>> ListAsync(CancellationToken cancellationToken)
    {
        var pods = await connection.Value.CoreV1.ListNamespacedPodAsync(
            Settings.Namespace, labelSelector: $"{InstallationLabel}={Settings.Installation}", cancellationToken: cancellationToken);
        var present = new List<ProvidedNode>();
        foreach (var pod in pods.Items)
        {
            if (pod.Status?.Phase is "Failed" or "Succeeded")
            {
                // Its agent has ended: the node does not exist, and neither should what is left of the pod.
                await RemoveAsync(pod.Metadata.Name, cancellationToken);
                continue;
            }

            present.Add(new ProvidedNode(pod.Metadata.Name, DetailOf(pod)));
        }

        return present;
    }

    /// <inheritdoc/>
    public async Task CreateAsync(ManagedNode node, NodeGroup group, CancellationToken cancellationToken)
    {
        var pod = await KubernetesYaml.LoadFromFileAsync<V1Pod>(Settings.PodFile);
        try
        {
            await connection.Value.CoreV1.CreateNamespacedPodAsync(Named(pod, node, group), Settings.Namespace, cancellationToken: cancellationToken);
        }
        catch (HttpOperationException exception) when (exception.Response.StatusCode == HttpStatusCode.Conflict)
        {
            // It is there already: asked for by a call whose answer was lost.
        }
        catch (HttpOperationException exception) when ((int)exception.Response.StatusCode is >= 400 and < 500 and not 429)
        {
            throw new CapacityRefusedException($"The API server refuses pod {node.Name}: {MessageOf(exception)}", exception);
        }
    }

    /// <inheritdoc/>
    public async Task RemoveAsync(string node, CancellationToken cancellationToken)
    {
        try
        {
            await connection.Value.CoreV1.DeleteNamespacedPodAsync(node, Settings.Namespace, cancellationToken: cancellationToken);
        }
        catch (HttpOperationException exception) when (exception.Response.StatusCode == HttpStatusCode.NotFound)
        {
            // Gone already.
        }
    }

    /// <summary>Pods stay when the scheduler ends: another one goes on with them.</summary>
    public ValueTask DisposeAsync()
    {
        if (connection.IsValueCreated)
        {
            connection.Value.Dispose();
        }

        return ValueTask.CompletedTask;
    }

    private static Kubernetes Connect(KubernetesProviderOptions settings) => new(settings switch
    {
        { Server.Length: > 0 } => new KubernetesClientConfiguration { Host = settings.Server },
        { KubeConfig.Length: > 0 } => KubernetesClientConfiguration.BuildConfigFromConfigFile(settings.KubeConfig),
        _ => KubernetesClientConfiguration.InClusterConfig(),
    });

    private V1Pod Named(V1Pod pod, ManagedNode node, NodeGroup group)
    {
        pod.Metadata ??= new V1ObjectMeta();
        pod.Metadata.Name = node.Name;
        pod.Metadata.NamespaceProperty = Settings.Namespace;
        pod.Metadata.Labels = new Dictionary<string, string>(pod.Metadata.Labels ?? new Dictionary<string, string>())
        {
            [InstallationLabel] = Settings.Installation,
            [GroupLabel] = group.Name,
        };
        if (pod.Spec?.Containers is not [var agent, ..])
        {
            throw new CapacityRefusedException($"{Settings.PodFile} has no container.");
        }

        // A node that ends is replaced under another name.
        pod.Spec.RestartPolicy = "Never";
        var settings = new Dictionary<string, string>
        {
            ["Agent__Node"] = node.Name,
            ["Agent__Group"] = group.Name,
            ["Agent__Spot"] = group.Spot ? "true" : "false",
            ["Agent__Cluster"] = node.Cluster,
            ["Agent__Devices"] = $"{group.Devices}",
            ["Agent__DeviceKind"] = group.DeviceKind,
        };
        foreach (var (label, value) in group.Topology)
        {
            settings[$"Agent__Topology__{label}"] = value;
        }

        agent.Env = [.. (agent.Env ?? []).Where(given => !settings.ContainsKey(given.Name)), .. settings.Select(entry => new V1EnvVar { Name = entry.Key, Value = entry.Value })];
        return pod;
    }

    private static string DetailOf(V1Pod pod)
    {
        if (pod.Status?.Conditions?.FirstOrDefault(condition => condition is { Type: "PodScheduled", Status: "False" }) is { } unscheduled)
        {
            return $"Kubernetes: {unscheduled.Message ?? unscheduled.Reason}";
        }

        return pod.Status?.ContainerStatuses?.Select(container => container.State?.Waiting).FirstOrDefault(waiting => waiting is not null) is { } waits
            ? $"Kubernetes: {waits.Reason} {waits.Message}".TrimEnd()
            : "";
    }

    private static string MessageOf(HttpOperationException exception)
    {
        try
        {
            using var status = JsonDocument.Parse(exception.Response.Content);
            return status.RootElement.TryGetProperty("message", out var message) ? message.ToString() : exception.Message;
        }
        catch (JsonException)
        {
            return exception.Message;
        }
    }
}
