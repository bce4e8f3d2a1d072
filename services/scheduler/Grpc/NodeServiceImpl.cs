using System.Text.Json;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Platform.Core.Cluster;
using Platform.Core.Gangs;
using Platform.Core.Validation;
using Platform.Hosting.Errors;
using Platform.Internal.V1;
using Platform.Scheduler.Adapters;
using Platform.Scheduler.Data;
using Platform.Scheduling.Gangs;

namespace Platform.Scheduler.Grpc;

/// <summary>What node agents ask of the leading scheduler.</summary>
internal sealed class NodeServiceImpl(ControlLoop loop, ModelRegistry registry, MessageRelay relay) : NodeService.NodeServiceBase
{
    public override async Task<RenewLeaseResponse> RenewLease(RenewLeaseRequest request, ServerCallContext context)
    {
        RequireNode(request.Node, request.Incarnation);
        NodeInventory? inventory;
        GangMemberReport[] reports;
        try
        {
            inventory = request.Inventory.Length > 0 ? GangJson.Read<NodeInventory>(request.Inventory) : null;
            reports = [.. request.Reports.Select(GangJson.Read<GangMemberReport>)];
        }
        catch (JsonException exception)
        {
            throw new InvalidRequestException("inventory", $"The inventory or a report is not the JSON expected: {exception.Message}");
        }

        if (inventory is not null && inventory.Node != request.Node)
        {
            throw new InvalidRequestException("inventory", $"Expected the inventory of {request.Node}, found that of {inventory.Node}.");
        }

        return await loop.RunAsync(
            control =>
            {
                if (request.Epoch > control.Epoch)
                {
                    throw new UnavailableException("STALE_EPOCH", $"The agent knows epoch {request.Epoch}, this scheduler has {control.Epoch}: another one leads.");
                }

                var renewal = control.Plane.Renew(request.Node, request.Incarnation, request.AgentAddress, inventory, reports, control.Now);
                if (request.LeavesIn is { } left && !renewal.InventoryNeeded)
                {
                    control.Plane.SetDraining(request.Node, true, control.Now, control.Now + left.ToTimeSpan());
                }

                return new RenewLeaseResponse
                {
                    Epoch = control.Epoch,
                    Lease = Duration.FromTimeSpan(renewal.Lease),
                    DesiredVersion = renewal.DesiredVersion,
                    InventoryNeeded = renewal.InventoryNeeded,
                };
            },
            context.CancellationToken);
    }

    public override async Task<GetAssignmentsResponse> GetAssignments(GetAssignmentsRequest request, ServerCallContext context)
    {
        RequireNode(request.Node, request.Incarnation);
        return await loop.RunAsync(
            control =>
            {
                var (version, assignments) = control.Plane.AssignmentsOf(request.Node, request.Incarnation)
                    ?? throw new FailedPreconditionException("LEASE_REQUIRED", $"This run of the agent of {request.Node} holds no lease; renew it with the inventory first.");
                var response = new GetAssignmentsResponse { Epoch = control.Epoch, Version = version };
                response.Assignments.AddRange(assignments.Select(GangJson.Write));
                return response;
            },
            context.CancellationToken);
    }

    public override async Task<CommitCheckpointResponse> CommitCheckpoint(CommitCheckpointRequest request, ServerCallContext context)
    {
        var cost = request.Times is { } times ? new CheckpointCost(times.PauseSeconds, times.WriteSeconds, times.SizeBytes) : null;
        var written = new GangEvent.CheckpointWritten(request.Attempt, request.Step, request.Directory, request.ManifestSha256, cost);
        return await loop.RunAsync(
            control =>
            {
                bool repeated = control.Plane.Find(request.Gang)?.Checkpoints.Any(known => known.Attempt == request.Attempt && known.Step == request.Step) ?? false;
                var effects = control.Plane.Apply(request.Gang, written, control.Now);
                if (effects.OfType<GangEffect.CheckpointCommitted>().FirstOrDefault() is not { Checkpoint: var checkpoint })
                {
                    throw new FailedPreconditionException(
                        "STALE_ATTEMPT", effects.OfType<GangEffect.Refused>().FirstOrDefault()?.Reason ?? $"{request.Gang} has ended or is unknown.");
                }

                if (!repeated)
                {
                    control.Write((db, _) =>
                    {
                        db.Checkpoints.Add(new CheckpointRow
                        {
                            Gang = request.Gang,
                            Attempt = request.Attempt,
                            Step = request.Step,
                            Directory = request.Directory,
                            ManifestSha256 = request.ManifestSha256,
                            CommittedUnixMs = control.Now.ToUnixTimeMilliseconds(),
                        });
                        return Task.CompletedTask;
                    });
                    SchedulerMetrics.Observe(request.Gang.Split('/')[^1], checkpoint);
                }

                var response = new CommitCheckpointResponse();
                response.ExpiredDirectories.AddRange(checkpoint.Expires);
                response.KeptDirectories.AddRange(control.Plane.Find(request.Gang)?.Checkpoints.Select(kept => kept.Directory) ?? []);
                return response;
            },
            context.CancellationToken);
    }

    public override Task<RegisterModelResponse> RegisterModel(RegisterModelRequest request, ServerCallContext context) =>
        registry.RegisterAsync(request, context.CancellationToken);

    public override async Task<SendMessageResponse> SendMessage(SendMessageRequest request, ServerCallContext context)
    {
        await relay.SendAsync(request.Type, request.Body, context.CancellationToken);
        return new SendMessageResponse();
    }

    public override Task ReceiveMessages(ReceiveMessagesRequest request, IServerStreamWriter<ReceiveMessagesResponse> responseStream, ServerCallContext context)
    {
        RequireNode(request.Node, "-");
        return relay.ReceiveAsync(request.Node, responseStream, context.CancellationToken);
    }

    private static void RequireNode(string node, string incarnation)
    {
        var violations = new List<Violation>();
        if (node.Length == 0)
        {
            violations.Add(new Violation("node", "The node's name is missing."));
        }

        if (incarnation.Length == 0)
        {
            violations.Add(new Violation("incarnation", "The agent's run is missing."));
        }

        if (violations.Count > 0)
        {
            throw new InvalidRequestException(violations);
        }
    }
}
