using System.Text;
using Platform.Core.Validation;
using Platform.Hosting.Errors;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Placement;
using Platform.Scheduling.Simulation;
using Platform.V1;

namespace Platform.Scheduler.Grpc;

/// <summary>Replays that callers ask for. They compute on a thread of their own and touch nothing of the cluster.</summary>
internal static class TraceReplays
{
    private const int MostGangs = 20_000;

    /// <summary>Reads the trace, runs it, and gives the report.</summary>
    /// <exception cref="InvalidRequestException">The trace, the nodes or the policy cannot be used.</exception>
    public static SimulateResponse Run(SimulateRequest request, ClusterSnapshot present, CancellationToken cancellationToken)
    {
        string policy = request.Policy.Length > 0 ? request.Policy : PlacementPolicies.Foresight;
        if (!PlacementPolicies.Names.Contains(policy))
        {
            throw new InvalidRequestException("policy", $"Expected one of {string.Join(", ", PlacementPolicies.Names)}, found '{policy}'.");
        }

        var gangs = Read("trace", () => ReplayTrace.ReadGangs(Lines(request.Trace.ToByteArray())));
        if (gangs.Count is 0 or > MostGangs)
        {
            throw new InvalidRequestException("trace", $"Expected 1 to {MostGangs} gangs, found {gangs.Count}; larger traces run with 'platform simulate'.");
        }

        var cluster = request.Nodes.IsEmpty ? present : Read("nodes", () => ClusterTrace.ReadNodes(Lines(request.Nodes.ToByteArray())));
        if (cluster.Nodes.Count == 0)
        {
            throw new InvalidRequestException("nodes", "There is no node, neither in the request nor in the cluster.");
        }

        var trace = new ReplayTrace(cluster, gangs);
        var result = ClusterReplay.Run(trace, new ReplayOptions { Cycle = new CycleOptions { Policy = policy } }, cancellationToken);
        return new SimulateResponse { Report = result.ToJson().ToJsonString(), Timeline = request.DrawTimeline ? ReplayTimeline.Svg(trace, result) : "" };
    }

    private static T Read<T>(string field, Func<T> read)
    {
        try
        {
            return read();
        }
        catch (TraceFormatException error)
        {
            throw new InvalidRequestException([new Violation(field, error.Message)]);
        }
    }

    private static string[] Lines(byte[] text) => Encoding.UTF8.GetString(text).Split('\n');
}
