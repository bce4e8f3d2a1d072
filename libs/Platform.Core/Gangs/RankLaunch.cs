namespace Platform.Core.Gangs;

/// <summary>
/// Everything a rank or replica process is told, as the JSON file its agent names on its command line
/// (<c>platform-worker rank --launch FILE</c>, <c>platform-serving --launch FILE</c>).
/// </summary>
public sealed record RankLaunch
{
    /// <summary>Gang.</summary>
    public required string Gang { get; init; }

    /// <summary>Attempt.</summary>
    public required int Attempt { get; init; }

    /// <summary>This process's rank.</summary>
    public required int Rank { get; init; }

    /// <summary>Ranks of the gang.</summary>
    public required int WorldSize { get; init; }

    /// <summary>Node it runs on.</summary>
    public required string Node { get; init; }

    /// <summary>Device indices it may use.</summary>
    public required IReadOnlyList<int> Devices { get; init; }

    /// <summary>Thousandths of each device.</summary>
    public required int DeviceMilli { get; init; }

    /// <summary>Device memory it may use, in bytes.</summary>
    public required long DeviceMemoryBytes { get; init; }

    /// <summary>Threads it may use for compute.</summary>
    public required int ComputeThreads { get; init; }

    /// <summary>Secret of the attempt.</summary>
    public required string Token { get; init; }

    /// <summary>Path of the agent's Unix socket (gRPC, RankService).</summary>
    public required string AgentSocket { get; init; }

    /// <summary>Rendezvous (<c>http://host:port</c>, gRPC RendezvousService); null in a gang of one.</summary>
    public string? RendezvousAddress { get; init; }

    /// <summary>Host name or address under which this node's ranks are reachable from other nodes.</summary>
    public required string AdvertisedHost { get; init; }

    /// <summary>Directory for this attempt's shared-memory files; the agent deletes it.</summary>
    public required string SharedMemoryDirectory { get; init; }

    /// <summary>Root of the artifact store, readable and writable by all ranks.</summary>
    public required string ArtifactRoot { get; init; }

    /// <summary>What runs.</summary>
    public required WorkloadKind Kind { get; init; }

    /// <summary>The work as JSON; see <see cref="GangAssignment.Workload"/>.</summary>
    public required string Workload { get; init; }

    /// <summary>Checkpoint to resume from, relative to the artifact root; null to begin at step 0.</summary>
    public string? ResumeFrom { get; init; }

    /// <summary>W3C trace context to continue.</summary>
    public string? TraceParent { get; init; }
}
