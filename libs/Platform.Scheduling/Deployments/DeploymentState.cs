using Platform.Core.Deployments;
using Platform.Core.Gangs;
using Platform.Scheduling.Gangs;

namespace Platform.Scheduling.Deployments;

/// <summary>Everything the control plane knows of a deployment apart from its replicas. A value: each change makes a new one.</summary>
public sealed record DeploymentState
{
    /// <summary>Deployment id: the model name of requests.</summary>
    public required string Id { get; init; }

    /// <summary>Project it belongs to.</summary>
    public required string Project { get; init; }

    /// <summary>Who created it, for accounting.</summary>
    public string User { get; init; } = "default";

    /// <summary>Unique over all time.</summary>
    public required string Uid { get; init; }

    /// <summary>Its settings; <see cref="DeploymentSpec.Model"/> is the registered name.</summary>
    public required DeploymentSpec Spec { get; init; }

    /// <summary>Version of the model that its replicas serve.</summary>
    public required int ModelVersion { get; init; }

    /// <summary>Hugging Face directory, absolute or relative to the artifact root.</summary>
    public required string ModelDirectory { get; init; }

    /// <summary>Where the adapters of its settings lie.</summary>
    public IReadOnlyList<AdapterSource> Adapters { get; init; } = [];

    /// <summary>Directory of the model that guesses for its model; null when none does.</summary>
    public string? DraftDirectory { get; init; }

    /// <summary>Longest context of the model.</summary>
    public int ContextLength { get; init; }

    /// <summary>Grows when settings or model change; replicas of older revisions are replaced.</summary>
    public int Revision { get; init; } = 1;

    /// <summary>Replicas wanted.</summary>
    public required int DesiredReplicas { get; init; }

    /// <summary>It is going away.</summary>
    public bool Deleting { get; init; }

    /// <summary>Number of the next replica.</summary>
    public int NextReplica { get; init; } = 1;

    /// <summary>Replicas that failed for good in a row.</summary>
    public int ConsecutiveFailures { get; init; }

    /// <summary>No new replica before this time.</summary>
    public DateTimeOffset? NotBefore { get; init; }

    /// <summary>Why the last replica failed for good; null once one is ready.</summary>
    public string? LastFailure { get; init; }

    /// <summary>When it was created.</summary>
    public required DateTimeOffset CreatedAt { get; init; }

    /// <summary>W3C context of the call that created it.</summary>
    public string? TraceParent { get; init; }

    /// <summary>The deployment at another version of its model; its replicas are replaced one after the other.</summary>
    public DeploymentState At(int version, string directory, int contextLength) => this with
    {
        ModelVersion = version,
        ModelDirectory = directory,
        ContextLength = contextLength,
        Revision = Revision + 1,
        NotBefore = null,
        ConsecutiveFailures = 0,
    };

    /// <summary>The deployment with other adapters; its replicas are replaced one after the other.</summary>
    public DeploymentState With(DeploymentSpec spec, IReadOnlyList<AdapterSource> adapters) => this with
    {
        Spec = spec,
        Adapters = adapters,
        Revision = Revision + 1,
        NotBefore = null,
        ConsecutiveFailures = 0,
    };

    /// <summary>Key in a project.</summary>
    public string Key => $"{Project}/{Id}";
}

/// <summary>A replica: a gang that belongs to a deployment.</summary>
/// <param name="Id">Replica id.</param>
/// <param name="Deployment">Key of its deployment.</param>
/// <param name="Revision">Revision it serves.</param>
/// <param name="Gang">Its gang.</param>
public sealed record ReplicaState(string Id, string Deployment, int Revision, GangState Gang)
{
    /// <summary>Whether it answers requests.</summary>
    public bool IsReady => Gang.Stage == GangStage.Running && Endpoint is not null;

    /// <summary>Address of its engine.</summary>
    public string? Endpoint => Gang.Attempt?.Members.Select(member => member.ReplicaEndpoint).FirstOrDefault(endpoint => endpoint is not null);
}

/// <summary>What has to be done about a deployment.</summary>
public abstract record DeploymentEffect
{
    private DeploymentEffect()
    {
    }

    /// <summary>A new replica is wanted.</summary>
    /// <param name="Replica">Its id.</param>
    public sealed record Create(string Replica) : DeploymentEffect;

    /// <summary>A replica is to end.</summary>
    /// <param name="Replica">Its id.</param>
    public sealed record Retire(string Replica) : DeploymentEffect;

    /// <summary>A replica has ended and may be forgotten.</summary>
    /// <param name="Replica">Its id.</param>
    public sealed record Forget(string Replica) : DeploymentEffect;

    /// <summary>The deployment is gone.</summary>
    public sealed record Deleted : DeploymentEffect;
}
