using Platform.Core.Gangs;
using Platform.Worker.Agent.Adapters.Ranks;

namespace Platform.Worker.Agent.Adapters;

/// <summary>
/// The metrics endpoints of this node's processes in the form of Prometheus' HTTP service discovery
/// (https://prometheus.io/docs/prometheus/latest/http_sd/).
/// </summary>
internal static class ScrapeTargets
{
    public static IReadOnlyList<TargetGroup> Of(AttemptTable attempts, string node) =>
    [
        .. from attempt in attempts.All
           from rank in attempt.Ranks.Values
           let uri = rank.MetricsEndpoint is { } endpoint ? new Uri(endpoint) : null
           where uri is not null
           orderby attempt.Key, rank.Rank
           select new TargetGroup(
               [uri.Authority],
               new Dictionary<string, string>
               {
                   ["__metrics_path__"] = uri.AbsolutePath,
                   ["node"] = node,
                   ["gang"] = attempt.Key.Gang,
                   ["rank"] = $"{rank.Rank}",
                   ["workload"] = attempt.Assignment.Kind switch { WorkloadKind.Serving => "serving", WorkloadKind.Command => "command", _ => "training" },
               }),
    ];

    internal sealed record TargetGroup(IReadOnlyList<string> Targets, IReadOnlyDictionary<string, string> Labels);
}
