using Platform.Core.Cluster;
using Platform.Core.Gangs;
using Platform.Core.Parallelism;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Gangs;

namespace Platform.Scheduling.Tests;

/// <summary>Clusters, gangs and reports as tests need them.</summary>
internal static class Given
{
    public static readonly DateTimeOffset Noon = new(2026, 1, 1, 12, 0, 0, TimeSpan.Zero);

    public static NodeSnapshot Node(string name, int devices, int freeMilli = 1000, string kind = "cpu", bool schedulable = true, string? block = null) => new(
        name, schedulable, schedulable ? "" : "lost", block is null ? new Dictionary<string, string>() : new Dictionary<string, string> { ["block"] = block },
        64L << 30, 64L << 30, [.. Enumerable.Range(0, devices).Select(index => new DeviceSnapshot(index, kind, 16L << 30, true, freeMilli))]);

    public static ClusterSnapshot Cluster(params NodeSnapshot[] nodes) => new(nodes);

    public static GangShape Shape(int tensor = 1, int pipeline = 1, int data = 1, int milli = 1000, string kind = "cpu") =>
        new() { Mesh = new DeviceMesh(tensor, pipeline, data), DeviceKind = kind, DeviceMilli = milli };

    public static PendingGang Waiting(string gang, GangShape shape, int priority = 100, int submitted = 0) =>
        new() { Gang = gang, Shape = shape, Priority = priority, SubmittedAt = Noon.AddSeconds(submitted) };

    public static NodeInventory Inventory(string node, int devices) =>
        new(node, [.. Enumerable.Range(0, devices).Select(index => new DeviceInfo(index, "cpu", 1L << 30))], 64L << 30, new Dictionary<string, string>(), "1.0");

    public static GangState Gang(string gang, GangShape shape, WorkloadKind kind = WorkloadKind.Training, int maxRestarts = 3) => new()
    {
        Gang = gang,
        Project = "default",
        Kind = kind,
        Workload = "{}",
        Shape = shape,
        MaxRestarts = maxRestarts,
        SubmittedAt = Noon,
        StageSince = Noon,
        Priority = 100,
    };

    public static GangMemberReport Report(GangState gang, string node, MemberPhase phase, GangFailure? failure = null, int? attempt = null, string? endpoint = null) => new()
    {
        Node = node,
        Incarnation = "a",
        Epoch = 1,
        Gang = gang.Gang,
        Attempt = attempt ?? gang.Attempt?.Number ?? 0,
        Phase = phase,
        RendezvousAddress = phase >= MemberPhase.Prepared ? $"{node}:1" : null,
        Failure = failure,
        ReplicaEndpoint = endpoint,
    };

    public static GangFailure Failure(FailureCode code = FailureCode.RankExited, bool permanent = false, string? node = null) =>
        new() { Code = code, Message = $"Test: {code}.", IsPermanent = permanent, Node = node };
}
