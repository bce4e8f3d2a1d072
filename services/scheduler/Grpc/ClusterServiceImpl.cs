using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Microsoft.EntityFrameworkCore;
using Platform.Hosting.Errors;
using Platform.Scheduler.Adapters;
using Platform.Scheduler.Core;
using Platform.Scheduler.Data;
using Platform.Scheduling.Capacity;
using Platform.Scheduling.Control;
using Platform.V1;
using NodeState = Platform.Scheduling.Control.NodeState;
using NodePhase = Platform.V1.NodeState;

namespace Platform.Scheduler.Grpc;

/// <summary>Nodes and queues.</summary>
internal sealed class ClusterServiceImpl(ControlLoop loop, IDbContextFactory<SchedulerDbContext> factory, SchedulerOptions options, TimeProvider time) : ClusterService.ClusterServiceBase
{
    public override async Task<ListNodesResponse> ListNodes(ListNodesRequest request, ServerCallContext context)
    {
        var (size, after) = Requests.Page(request.PageSize, request.PageToken);
        return await loop.RunAsync(
            control =>
            {
                int skip = (int)(after ?? 0);
                var all = control.Plane.Nodes.Count;
                var coming = control.Plane.Capacity.Nodes.Where(node => node.Phase == ManagedNodePhase.Asked).Select(MessageOf).ToList();
                var response = new ListNodesResponse { NextPageToken = all + coming.Count > skip + size ? PageToken.Write(skip + size) : "" };
                response.Nodes.AddRange(control.Plane.Nodes.Skip(skip).Take(size).Select(node => MessageOf(node, control.Plane)));
                response.Nodes.AddRange(coming.Skip(Math.Max(0, skip - all)).Take(size - response.Nodes.Count));
                return response;
            },
            context.CancellationToken);
    }

    public override Task<Node> GetNode(GetNodeRequest request, ServerCallContext context)
    {
        string name = Requests.Node(request.Name);
        return loop.RunAsync(control => MessageOf(Require(control, name), control.Plane), context.CancellationToken);
    }

    public override Task<Node> DrainNode(DrainNodeRequest request, ServerCallContext context)
    {
        TimeSpan? within = request.Within?.ToTimeSpan();
        if (within < TimeSpan.Zero)
        {
            throw new InvalidRequestException("within", $"Expected 0 or more, found {within}.");
        }

        if (within is not null && request.KeepGangs)
        {
            throw new InvalidRequestException("within", "A node that is cordoned keeps its gangs; drain it, or leave within out.");
        }

        return SetAsync(
            request.Name, (plane, node, now) => request.KeepGangs ? plane.SetCordoned(node, true) : plane.SetDraining(node, true, now, now + within), context.CancellationToken);
    }

    public override Task<Node> UndrainNode(UndrainNodeRequest request, ServerCallContext context) => SetAsync(
        request.Name, (plane, node, now) => plane.SetCordoned(node, false) && plane.SetDraining(node, false, now), context.CancellationToken);

    public override Task<ListQueuesResponse> ListQueues(ListQueuesRequest request, ServerCallContext context) =>
        loop.RunAsync(control => QueueMessages.List(control.Plane, control.Now), context.CancellationToken);

    public override Task<Queue> UpdateQueue(UpdateQueueRequest request, ServerCallContext context)
    {
        var queue = QueueMessages.Read(request.Queue, options.DevicePricePerHour.Count > 0);
        return loop.RunAsync(
            control => control.Plane.PutQueue(queue) is { Count: > 0 } wrong
                ? throw new InvalidRequestException("queue", string.Join(" ", wrong))
                : QueueMessages.List(control.Plane, control.Now).Queues.Single(known => known.Name == request.Queue.Name),
            context.CancellationToken);
    }

    public override async Task<QueryUsageResponse> QueryUsage(QueryUsageRequest request, ServerCallContext context)
    {
        var query = UsageMessages.Read(request, time.GetUtcNow());
        await using var db = await factory.CreateDbContextAsync(context.CancellationToken);
        var sums = await UsageAccounts.QueryAsync(db, query.By, query.Queue, query.User, query.From, query.To, context.CancellationToken);
        return UsageMessages.Of(sums, query);
    }

    public override async Task<SimulateResponse> Simulate(SimulateRequest request, ServerCallContext context)
    {
        var cluster = await loop.RunAsync(control => control.Plane.Snapshot().Emptied(), context.CancellationToken);
        return await Task.Factory.StartNew(
            () => TraceReplays.Run(request, cluster, context.CancellationToken), context.CancellationToken, TaskCreationOptions.LongRunning, TaskScheduler.Default);
    }

    private Task<Node> SetAsync(string resource, Func<ControlPlane, string, DateTimeOffset, bool> set, CancellationToken cancellationToken)
    {
        string name = Requests.Node(resource);
        return loop.RunAsync(
            control => set(control.Plane, name, control.Now)
                ? MessageOf(Require(control, name), control.Plane)
                : throw new NotFoundException($"nodes/{name}"),
            cancellationToken);
    }

    private static NodeState Require(ControlContext control, string name) =>
        control.Plane.Nodes.FirstOrDefault(node => node.Node == name) ?? throw new NotFoundException($"nodes/{name}");

    private static Node MessageOf(ManagedNode node) => new()
    {
        Name = $"nodes/{node.Name}",
        State = NodePhase.Requested,
        Group = node.Group,
        Cluster = node.Cluster,
        StateReason = node.Detail.Length > 0 ? node.Detail : $"Asked for {node.For ?? $"group {node.Group}"}.",
    };

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
            State = (node.Lost, node.Draining, node.Cordoned) switch
            {
                (true, _, _) => NodePhase.Lost,
                (_, true, _) => isEmpty ? NodePhase.Drained : NodePhase.Draining,
                (_, _, true) => NodePhase.Cordoned,
                _ => NodePhase.Ready,
            },
            LeaseExpireTime = Timestamp.FromDateTimeOffset(node.LeaseUntil),
            AgentVersion = node.Inventory.AgentVersion,
        };
        message.StateReason = plane.Capacity.Nodes.FirstOrDefault(managed => managed.Name == node.Node)?.Reason ?? "";
        message.Group = node.Inventory.Group;
        message.Spot = node.Inventory.Spot;
        message.Cluster = node.Inventory.Cluster;
        message.LeaveTime = node.LeavesAt is { } leaves ? Timestamp.FromDateTimeOffset(leaves) : null;
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
