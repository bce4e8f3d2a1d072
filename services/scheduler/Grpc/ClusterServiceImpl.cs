using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Platform.Core.Gangs;
using Platform.Hosting.Errors;
using Platform.Scheduler.Adapters;
using Platform.Scheduler.Core;
using Platform.Scheduling.Control;
using Platform.Scheduling.Gangs;
using Platform.V1;
using NodeState = Platform.Scheduling.Control.NodeState;
using NodePhase = Platform.V1.NodeState;

namespace Platform.Scheduler.Grpc;

/// <summary>Nodes and queues.</summary>
internal sealed class ClusterServiceImpl(ControlLoop loop) : ClusterService.ClusterServiceBase
{
    public override async Task<ListNodesResponse> ListNodes(ListNodesRequest request, ServerCallContext context)
    {
        var (size, after) = Requests.Page(request.PageSize, request.PageToken);
        return await loop.RunAsync(
            control =>
            {
                int skip = (int)(after ?? 0);
                var all = control.Plane.Nodes;
                var response = new ListNodesResponse { NextPageToken = all.Count > skip + size ? PageToken.Write(skip + size) : "" };
                response.Nodes.AddRange(all.Skip(skip).Take(size).Select(node => MessageOf(node, control.Plane)));
                return response;
            },
            context.CancellationToken);
    }

    public override Task<Node> GetNode(GetNodeRequest request, ServerCallContext context)
    {
        string name = Requests.Node(request.Name);
        return loop.RunAsync(control => MessageOf(Require(control, name), control.Plane), context.CancellationToken);
    }

    public override Task<Node> DrainNode(DrainNodeRequest request, ServerCallContext context) =>
        SetDrainingAsync(request.Name, true, context.CancellationToken);

    public override Task<Node> UndrainNode(UndrainNodeRequest request, ServerCallContext context) =>
        SetDrainingAsync(request.Name, false, context.CancellationToken);

    public override async Task<ListQueuesResponse> ListQueues(ListQueuesRequest request, ServerCallContext context) => await loop.RunAsync(
        control =>
        {
            var response = new ListQueuesResponse();
            var gangs = control.Plane.Gangs.Where(gang => !gang.IsTerminal).ToList();
            foreach (string name in gangs.Select(gang => gang.Queue).Append("default").Distinct().Order(StringComparer.Ordinal))
            {
                var own = gangs.Where(gang => gang.Queue == name).ToList();
                var queue = new Queue
                {
                    Name = $"queues/{name}",
                    PendingJobs = own.Count(gang => gang is { Kind: WorkloadKind.Training, Stage: GangStage.Queued }),
                    RunningJobs = own.Count(gang => gang.Kind == WorkloadKind.Training && gang.IsActive),
                };
                foreach (var kind in own.Where(gang => gang.IsActive).GroupBy(gang => gang.Shape.DeviceKind))
                {
                    queue.Used[kind.Key] = (int)Math.Ceiling(kind.Sum(gang => gang.Shape.DeviceSlots * gang.Shape.DeviceMilli) / 1000.0);
                }

                response.Queues.Add(queue);
            }

            return response;
        },
        context.CancellationToken);

    public override Task<Queue> UpdateQueue(UpdateQueueRequest request, ServerCallContext context) => throw new UnimplementedException(
        "Queues order jobs by priority and submission; quotas, borrowing and weights are not enforced in this version, so they cannot be set.");

    public override Task<SimulateResponse> Simulate(SimulateRequest request, ServerCallContext context) => throw new UnimplementedException(
        "Replaying a trace through the scheduling core is not offered by this version.");

    private Task<Node> SetDrainingAsync(string resource, bool draining, CancellationToken cancellationToken)
    {
        string name = Requests.Node(resource);
        return loop.RunAsync(
            control => control.Plane.SetDraining(name, draining, control.Now)
                ? MessageOf(Require(control, name), control.Plane)
                : throw new NotFoundException($"nodes/{name}"),
            cancellationToken);
    }

    private static NodeState Require(ControlContext control, string name) =>
        control.Plane.Nodes.FirstOrDefault(node => node.Node == name) ?? throw new NotFoundException($"nodes/{name}");

    private static Node MessageOf(NodeState node, ControlPlane plane)
    {
        var holders = plane.Gangs.Where(gang => gang.IsActive)
            .SelectMany(gang => gang.Attempt!.Members.Where(member => member.Node == node.Node && !member.Released)
                .SelectMany(member => member.Ranks.SelectMany(rank => rank.Devices.Select(device => (device, gang.Gang, rank.DeviceMilli)))))
            .ToLookup(entry => entry.device);
        bool isEmpty = holders.Count == 0;
        var message = new Node
        {
            Name = $"nodes/{node.Node}",
            State = node.Lost ? NodePhase.Lost : !node.Draining ? NodePhase.Ready : isEmpty ? NodePhase.Drained : NodePhase.Draining,
            LeaseExpireTime = Timestamp.FromDateTimeOffset(node.LeaseUntil),
            AgentVersion = node.Inventory.AgentVersion,
        };
        message.Topology.Add(node.Inventory.Topology.ToDictionary());
        foreach (var device in node.Inventory.Devices)
        {
            var entry = new Device
            {
                Index = device.Index,
                Kind = device.Kind,
                MemoryBytes = device.MemoryBytes,
                AllocatedMilli = holders[device.Index].Sum(holder => holder.DeviceMilli),
            };
            entry.Gangs.AddRange(holders[device.Index].Select(holder => holder.Gang).Distinct());
            message.Devices.Add(entry);
        }

        return message;
    }
}
