namespace Platform.Core.Jobs;

/// <summary>A gang that runs a program of its author's: existing PyTorch, DeepSpeed or Megatron scripts, or a shell.</summary>
public sealed record CommandJobSpec
{
    /// <summary>Short name.</summary>
    public required string Name { get; init; }

    /// <summary>Tenant queue.</summary>
    public string Queue { get; init; } = "default";

    /// <summary>Higher goes first.</summary>
    public int Priority { get; init; } = 100;

    /// <summary>Program and arguments, found on each node.</summary>
    public required IReadOnlyList<string> Command { get; init; }

    /// <summary>Variables set in addition to the node's own; the gang's win over them.</summary>
    public IReadOnlyDictionary<string, string> Environment { get; init; } = new Dictionary<string, string>();

    /// <summary>Processes in the gang.</summary>
    public int Ranks { get; init; } = 1;

    /// <summary>Devices of each.</summary>
    public int DevicesPerRank { get; init; } = 1;

    /// <summary>Devices, memory and places.</summary>
    public ResourceSpec Resources { get; init; } = new();

    /// <summary>What happens after a failure.</summary>
    public RetrySpec Retries { get; init; } = new();
}
