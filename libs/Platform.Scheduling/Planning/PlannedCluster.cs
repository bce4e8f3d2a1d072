using System.Collections.Immutable;
using Platform.Scheduling.Cycle;

namespace Platform.Scheduling.Planning;

/// <summary>Devices to plan for.</summary>
/// <param name="DevicesOfNodes">How many devices each node has, most first.</param>
/// <param name="MemoryBytes">Memory that a rank may use of its device.</param>
/// <param name="Profile">What a device can do.</param>
/// <param name="PricePerDeviceHour">Price of one for an hour; null when it is not known.</param>
public sealed record PlannedCluster(ImmutableArray<int> DevicesOfNodes, long MemoryBytes, DeviceProfile Profile, double? PricePerDeviceHour)
{
    /// <summary>
    /// Share of a device's memory that a plan fills: the rest is for the device's context, communication buffers and
    /// fragmentation.
    /// </summary>
    public const double UsableShare = 0.92;

    /// <summary>
    /// What all devices reach together where they share processors, FLOP/s; null where each has its own. Virtual CPU devices
    /// share those of their machine, so more ranks do not compute more.
    /// </summary>
    public double? SharedFlops { get; init; }

    /// <summary>All devices.</summary>
    public int Devices => DevicesOfNodes.Sum();

    /// <summary>Devices of the largest node.</summary>
    public int DevicesPerNode => DevicesOfNodes.IsEmpty ? 1 : DevicesOfNodes.Max();

    /// <summary>Bytes per device that a plan fills.</summary>
    public long UsableBytes => (long)(MemoryBytes * UsableShare);

    /// <summary>What one of so many ranks reaches in matrix products, FLOP/s.</summary>
    public double Flops(Core.Jobs.Precision precision, int ranks) =>
        Math.Min(Profile.Flops(precision), SharedFlops / ranks ?? double.PositiveInfinity);

    /// <summary>How many ranks share what one of them would have alone; 1 where each device is its own.</summary>
    public double Crowding(Core.Jobs.Precision precision, int ranks) => Profile.Flops(precision) / Flops(precision, ranks);

    /// <summary>Equal nodes.</summary>
    public static PlannedCluster Of(int nodes, int devicesPerNode, long? memoryBytes, DeviceProfile profile, double? price) =>
        new([.. Enumerable.Repeat(devicesPerNode, nodes)], memoryBytes ?? profile.MemoryBytes, profile, price);

    /// <summary>The devices of a kind that a cluster has, empty; null when it has none.</summary>
    /// <param name="cluster">The cluster.</param>
    /// <param name="kind">Kind of device.</param>
    /// <param name="milli">Thousandths of a device that each rank gets.</param>
    /// <param name="measured">What ranks measured on such devices: the most of one, and of all together; null when none has yet.</param>
    /// <param name="price">Price of a device for an hour.</param>
    public static PlannedCluster? Of(ClusterSnapshot cluster, string kind, int milli, (double OfOne, double OfAll)? measured, double? price)
    {
        ArgumentNullException.ThrowIfNull(cluster);
        int perDevice = Math.Max(1, 1000 / Math.Max(1, milli));
        var nodes = cluster.Nodes.Select(node => node.Devices.Where(device => device.Kind == kind && device.Healthy).ToList()).Where(devices => devices.Count > 0).ToList();
        if (nodes.Count == 0 || DeviceProfile.Find(kind) is not { } profile)
        {
            return null;
        }

        return new PlannedCluster(
            [.. nodes.Select(devices => devices.Count * perDevice).OrderDescending()],
            nodes.SelectMany(devices => devices).Min(device => device.MemoryBytes) * milli / 1000,
            measured is { } rate ? profile.WithFlops(rate.OfOne) : profile,
            price * milli / 1000)
        {
            SharedFlops = kind == "cpu" ? measured?.OfAll : null,
        };
    }
}
