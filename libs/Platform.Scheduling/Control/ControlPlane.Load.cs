using Platform.Scheduling.Deployments;

namespace Platform.Scheduling.Control;

/// <summary>What gateways tell of the load, and how many replicas it calls for.</summary>
public sealed partial class ControlPlane
{
    // Neither is stored: a new leader hears the load anew, and its delays begin again.
    private readonly Dictionary<string, (DateTimeOffset At, IReadOnlyDictionary<string, DeploymentLoad> Loads)> loads = [];
    private readonly Dictionary<string, ScalingWindow> windows = [];

    /// <summary>Takes in what one gateway has in progress; it replaces what that gateway told before.</summary>
    /// <param name="gateway">Identity of the gateway's process.</param>
    /// <param name="load">Load by key of the deployment; a deployment that is not named has none there.</param>
    /// <param name="now">The time.</param>
    public void ReportLoad(string gateway, IReadOnlyDictionary<string, DeploymentLoad> load, DateTimeOffset now) => loads[gateway] = (now, load);

    /// <summary>Load of a deployment over all gateways heard lately; null when none was.</summary>
    /// <param name="key"><c>{project}/{deployment}</c>.</param>
    public DeploymentLoad? LoadOf(string key) =>
        loads.Count == 0 ? null : loads.Values.Aggregate(default(DeploymentLoad), (sum, report) => sum + report.Loads.GetValueOrDefault(key));

    private void Scale(DateTimeOffset now)
    {
        foreach (string silent in loads.Where(entry => now - entry.Value.At > options.LoadExpiry).Select(entry => entry.Key).ToList())
        {
            loads.Remove(silent);
        }

        foreach (string gone in windows.Keys.Where(key => !deployments.ContainsKey(key)).ToList())
        {
            windows.Remove(gone);
        }

        foreach (var deployment in deployments.Values.Where(deployment => !deployment.Deleting).ToList())
        {
            var (desired, window) = Autoscaler.Decide(
                deployment.Spec.Deployment, deployment.DesiredReplicas, LoadOf(deployment.Key), windows.GetValueOrDefault(deployment.Key), now);
            if (window is null)
            {
                windows.Remove(deployment.Key);
            }
            else
            {
                windows[deployment.Key] = window;
            }

            if (desired != deployment.DesiredReplicas)
            {
                PutDeployment(deployment with { DesiredReplicas = desired });
            }
        }
    }
}
