using Platform.Core.Deployments;

namespace Platform.Scheduling.Deployments;

/// <summary>What callers ask of a deployment at a moment, summed over the gateways.</summary>
/// <param name="OngoingRequests">Requests that have no last token yet, those that wait for a replica included.</param>
/// <param name="OutstandingTokens">Tokens still to be computed for them, outputs at their longest.</param>
public readonly record struct DeploymentLoad(int OngoingRequests, long OutstandingTokens)
{
    /// <summary>Both together.</summary>
    public static DeploymentLoad operator +(DeploymentLoad a, DeploymentLoad b) =>
        new(a.OngoingRequests + b.OngoingRequests, a.OutstandingTokens + b.OutstandingTokens);
}

/// <summary>For how long the load has asked for another number of replicas.</summary>
/// <param name="Since">When it began to.</param>
/// <param name="Upwards">It asks for more.</param>
/// <param name="Nearest">The wish nearest to what there is in all that time: what has been needed, or superfluous, throughout.</param>
public sealed record ScalingWindow(DateTimeOffset Since, bool Upwards, int Nearest);

/// <summary>
/// Chooses how many replicas a deployment wants, as Aviary did from requests in progress, and from the tokens they still
/// cost as well, since outputs differ in length. Pure: the caller keeps the window and calls again as time passes.
/// </summary>
public static class Autoscaler
{
    /// <summary>Replicas that a load calls for, within the deployment's bounds.</summary>
    public static int Wanted(DeploymentOptions options, DeploymentLoad load)
    {
        ArgumentNullException.ThrowIfNull(options);
        long wanted = Ceiling(load.OngoingRequests, options.TargetOngoingRequests);
        if (options.TargetOutstandingTokens is { } tokens)
        {
            wanted = Math.Max(wanted, Ceiling(load.OutstandingTokens, tokens));
        }

        return (int)Math.Clamp(wanted, options.MinReplicas, options.MaxReplicas);
    }

    /// <summary>
    /// The number of replicas to want now. It rises once more have been called for throughout the delay for rising, and
    /// falls once fewer have been enough throughout the delay for falling, each time to the wish nearest to the present
    /// number: a spike adds nothing, a lull takes nothing away. A deployment that sleeps wakes at once.
    /// </summary>
    /// <param name="options">Bounds, target and delays. With equal bounds nothing changes.</param>
    /// <param name="desired">Replicas wanted so far.</param>
    /// <param name="load">The load; null when no gateway has told it lately, and then nothing changes.</param>
    /// <param name="window">What the last call returned; null at first.</param>
    /// <param name="now">The time.</param>
    public static (int Desired, ScalingWindow? Window) Decide(
        DeploymentOptions options, int desired, DeploymentLoad? load, ScalingWindow? window, DateTimeOffset now)
    {
        ArgumentNullException.ThrowIfNull(options);
        if (load is not { } known || options.MinReplicas == options.MaxReplicas)
        {
            return (desired, null);
        }

        int wanted = Wanted(options, known);
        if (wanted == desired)
        {
            return (desired, null);
        }

        bool upwards = wanted > desired;
        if (upwards && desired == 0)
        {
            return (wanted, null);
        }

        window = window is { } open && open.Upwards == upwards
            ? open with { Nearest = upwards ? Math.Min(open.Nearest, wanted) : Math.Max(open.Nearest, wanted) }
            : new ScalingWindow(now, upwards, wanted);
        double delay = upwards ? options.UpscaleDelaySeconds : options.DownscaleDelaySeconds;
        return now - window.Since >= TimeSpan.FromSeconds(delay) ? (window.Nearest, null) : (desired, window);
    }

    private static long Ceiling(long load, long target) => (load + target - 1) / target;
}
