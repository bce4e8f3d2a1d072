namespace Platform.Core.Deployments;

/// <summary><c>engine_config.lora</c>: low-rank adapters that requests can name in place of the model.</summary>
public sealed record LoraOptions
{
    /// <summary>Most adapters; several of them may be used in one batch.</summary>
    public int MaxLoras { get; init; } = 8;

    /// <summary>Highest rank of an adapter.</summary>
    public int MaxLoraRank { get; init; } = 64;

    /// <summary>The adapters; their names differ.</summary>
    public IReadOnlyList<LoraAdapterOptions> Adapters { get; init; } = [];
}

/// <summary>One adapter of a deployment.</summary>
public sealed record LoraAdapterOptions
{
    /// <summary>The model name of requests.</summary>
    public required string Name { get; init; }

    /// <summary>A registered model that is an adapter or was exported with one, or a directory as PEFT writes it.</summary>
    public required string Model { get; init; }
}
