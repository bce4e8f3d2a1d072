using System.Security.Cryptography;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Platform.Core.Deployments;
using Platform.Scheduler.Core;
using Platform.Scheduling.Deployments;
using Platform.Scheduling.Gangs;
using Platform.V1;
using DeploymentMessage = Platform.V1.Deployment;
using DeploymentPhase = Platform.V1.DeploymentState;
using DeploymentState = Platform.Scheduling.Deployments.DeploymentState;

namespace Platform.Scheduler.Grpc;

/// <summary>Deployments as messages of the API.</summary>
internal static class DeploymentMessages
{
    public static DeploymentMessage Of(DeploymentState state, IEnumerable<ReplicaState> replicas)
    {
        var own = replicas.Where(replica => replica.Deployment == state.Key && !replica.Gang.IsTerminal).ToList();
        var sections = JobMessages.Parse<DeploySpec>(DeploymentSpecWriter.SectionsToJson(state.Spec).ToJsonString());
        int ready = own.Count(replica => replica.IsReady);
        var (phase, reason) = PhaseOf(state, own, ready);
        var message = new DeploymentMessage
        {
            Name = ResourceNames.Deployment(state.Project, state.Id),
            Uid = state.Uid,
            Model = ResourceNames.Model(state.Project, state.Spec.Model),
            DeploymentConfig = sections.DeploymentConfig,
            EngineConfig = sections.EngineConfig,
            ScalingConfig = sections.ScalingConfig,
            State = phase,
            StateReason = reason,
            DesiredReplicas = state.DesiredReplicas,
            ReadyReplicas = ready,
            CreateTime = Timestamp.FromDateTimeOffset(state.CreatedAt),
        };
        message.Replicas.AddRange(own.Select(Of));
        message.Etag = Convert.ToHexStringLower(SHA256.HashData(message.ToByteArray()).AsSpan(0, 8));
        return message;
    }

    private static (DeploymentPhase Phase, string Reason) PhaseOf(DeploymentState state, List<ReplicaState> replicas, int ready) => state switch
    {
        { Deleting: true } => (DeploymentPhase.Deleting, "Its replicas are ending."),
        { DesiredReplicas: 0 } when replicas.Count == 0 => (DeploymentPhase.Asleep, "It has no replicas; the first request wakes it."),
        _ when ready >= state.DesiredReplicas => (DeploymentPhase.Ready, $"{ready} replicas are ready."),
        { LastFailure: { } failure } when ready == 0 => (DeploymentPhase.Failed, failure),
        _ => (DeploymentPhase.Starting, replicas.FirstOrDefault(replica => !replica.IsReady)?.Gang.StageReason ?? $"{ready} of {state.DesiredReplicas} replicas are ready."),
    };

    private static Replica Of(ReplicaState replica)
    {
        var message = new Replica
        {
            Id = replica.Id,
            Node = replica.Gang.Attempt?.Members[0].Node ?? "",
            Endpoint = replica.IsReady ? replica.Endpoint ?? "" : "",
            State = replica.Gang.Stage switch
            {
                GangStage.Running => "ready",
                GangStage.Stopping => "stopping",
                GangStage.Failed => "failed",
                _ => "starting",
            },
            Timing = new Timing { StartTime = Timestamp.FromDateTimeOffset(replica.Gang.SubmittedAt) },
        };
        if (replica.Gang.Attempt?.RunningAt is { } running)
        {
            message.Timing.ReadyTime = Timestamp.FromDateTimeOffset(running);
        }

        return message;
    }
}
