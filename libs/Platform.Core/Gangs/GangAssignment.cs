namespace Platform.Core.Gangs;

/// <summary>What runs in a gang.</summary>
public enum WorkloadKind
{
    /// <summary>Ranks of a training job.</summary>
    Training,

    /// <summary>A replica of a deployment.</summary>
    Serving,

    /// <summary>Ranks that run a program of their author's.</summary>
    Command,
}

/// <summary>What the scheduler wants of a member.</summary>
public enum GangPhase
{
    /// <summary>Reserve the devices, check everything, start nothing.</summary>
    Prepare,

    /// <summary>Run the ranks.</summary>
    Start,

    /// <summary>Stop the ranks and release the devices.</summary>
    Stop,
}

/// <summary>A rank of a gang and the devices it gets on its node.</summary>
/// <param name="Rank">Rank in the gang.</param>
/// <param name="Devices">Device indices on the node.</param>
/// <param name="DeviceMilli">Thousandths of each of those devices.</param>
public sealed record RankPlacement(int Rank, IReadOnlyList<int> Devices, int DeviceMilli);

/// <summary>
/// What the scheduler wants of one node for one attempt of one gang. It travels on the bus as PrepareGang, StartGang
/// and StopGang and is pulled over the lease call: both carry this record as JSON, and an agent may meet it any number
/// of times, in any order. Of two records for the same gang the one with the higher (<see cref="Epoch"/>,
/// <see cref="Attempt"/>, <see cref="Phase"/>) counts.
/// </summary>
public sealed record GangAssignment
{
    /// <summary>Node it is for.</summary>
    public required string Node { get; init; }

    /// <summary>Gang: <c>jobs/{job}</c> or <c>replicas/{replica}</c>.</summary>
    public required string Gang { get; init; }

    /// <summary>Attempt, from 1.</summary>
    public required int Attempt { get; init; }

    /// <summary>Epoch of the scheduler that decided it; agents refuse lower ones than they have seen.</summary>
    public required long Epoch { get; init; }

    /// <summary>What is wanted.</summary>
    public required GangPhase Phase { get; init; }

    /// <summary>The gang's ranks on this node.</summary>
    public IReadOnlyList<RankPlacement> Ranks { get; init; } = [];

    /// <summary>Ranks of the whole gang.</summary>
    public int WorldSize { get; init; }

    /// <summary>This node has rank 0 and opens the rendezvous.</summary>
    public bool HostsRendezvous { get; init; }

    /// <summary>Address of the rendezvous (<c>host:port</c>); set from <see cref="GangPhase.Start"/> on when the gang has several ranks.</summary>
    public string? RendezvousAddress { get; init; }

    /// <summary>Secret of this attempt.</summary>
    public string Token { get; init; } = "";

    /// <summary>What runs.</summary>
    public WorkloadKind Kind { get; init; }

    /// <summary>
    /// The work as JSON: for training the job spec in its canonical form, for serving a <see cref="ReplicaWorkload"/>.
    /// </summary>
    public string Workload { get; init; } = "";

    /// <summary>Checkpoint directory to resume from, relative to the artifact root; null to begin at step 0.</summary>
    public string? ResumeFrom { get; init; }

    /// <summary>Why to stop; set with <see cref="GangPhase.Stop"/>.</summary>
    public string? StopReason { get; init; }

    /// <summary>How long ranks may take to stop by themselves before they are killed.</summary>
    public double StopGraceSeconds { get; init; } = 5;

    /// <summary>W3C trace context of the decision, so that agent and ranks continue its trace.</summary>
    public string? TraceParent { get; init; }
}

/// <summary>What a serving replica runs.</summary>
/// <param name="Deployment">Deployment id, the model name of requests.</param>
/// <param name="Project">Project of the deployment.</param>
/// <param name="ModelDirectory">Hugging Face directory, absolute or relative to the artifact root.</param>
/// <param name="ModelVersion">Version of the registered model.</param>
/// <param name="Spec">The deployment's settings.</param>
public sealed record ReplicaWorkload(
    string Deployment, string Project, string ModelDirectory, int ModelVersion, Deployments.DeploymentSpec Spec)
{
    /// <summary>Where the adapters of the settings lie.</summary>
    public IReadOnlyList<AdapterSource> Adapters { get; init; } = [];

    /// <summary>Directory of the model that guesses, absolute or relative to the artifact root; null when none does.</summary>
    public string? DraftDirectory { get; init; }
}

/// <summary>An adapter and its files.</summary>
/// <param name="Name">Model name of requests.</param>
/// <param name="Directory">Directory as PEFT writes it, absolute or relative to the artifact root.</param>
public sealed record AdapterSource(string Name, string Directory);
