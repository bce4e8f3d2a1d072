namespace Platform.Core.Deployments;

/// <summary>A deployment as its author wrote it, with defaults filled in; the three sections are Aviary's.</summary>
public sealed record DeploymentSpec
{
    /// <summary>Registered model's name.</summary>
    public required string Model { get; init; }

    /// <summary>How many replicas and how long a queue.</summary>
    public DeploymentOptions Deployment { get; init; } = new();

    /// <summary>How each replica runs.</summary>
    public EngineOptions Engine { get; init; } = new();

    /// <summary>What each replica occupies.</summary>
    public ScalingOptions Scaling { get; init; } = new();
}

/// <summary><c>deployment_config</c>.</summary>
public sealed record DeploymentOptions
{
    /// <summary>Fewest replicas; 0 lets the deployment sleep.</summary>
    public int MinReplicas { get; init; } = 1;

    /// <summary>Replicas at the start.</summary>
    public int InitialReplicas { get; init; } = 1;

    /// <summary>Most replicas.</summary>
    public int MaxReplicas { get; init; } = 1;

    /// <summary>Requests in progress per replica that scaling aims at.</summary>
    public int TargetOngoingRequests { get; init; } = 24;

    /// <summary>Tokens still to be computed per replica that scaling aims at; null to look at requests alone.</summary>
    public int? TargetOutstandingTokens { get; init; }

    /// <summary>How long the load must stay high before replicas are added.</summary>
    public double UpscaleDelaySeconds { get; init; } = 5;

    /// <summary>How long the load must stay low before replicas are taken away.</summary>
    public double DownscaleDelaySeconds { get; init; } = 300;

    /// <summary>Requests a replica queues before it refuses.</summary>
    public int MaxQueuedRequests { get; init; } = 256;

    /// <summary>Of its replicas among the jobs of their queue: higher goes first and may ask lower to make room.</summary>
    public int Priority { get; init; } = 200;
}

/// <summary><c>engine_config</c>.</summary>
public sealed record EngineOptions
{
    /// <summary>Most sequences in one iteration.</summary>
    public int MaxNumSeqs { get; init; } = 64;

    /// <summary>Most tokens computed in one iteration.</summary>
    public int MaxNumBatchedTokens { get; init; } = 2048;

    /// <summary>Memory of the key/value cache, on each rank of a tensor-parallel replica.</summary>
    public long KvCacheBytes { get; init; } = 256L << 20;

    /// <summary>Tokens per key/value block.</summary>
    public int BlockSize { get; init; } = 16;

    /// <summary>Share blocks of equal prefixes.</summary>
    public bool EnablePrefixCaching { get; init; } = true;

    /// <summary><c>bf16</c>, <c>fp32</c> or <c>int8</c>.</summary>
    public string Dtype { get; init; } = "bf16";

    /// <summary>How streams guess ahead; null when they do not.</summary>
    public SpeculativeOptions? Speculative { get; init; }

    /// <summary>Adapters served beside the model; null for none.</summary>
    public LoraOptions? Lora { get; init; }

    /// <summary>Defaults of requests.</summary>
    public GenerationOptions Generation { get; init; } = new();
}

/// <summary><c>speculative_config</c>: guesses of coming tokens, checked several at once. They never change an output.</summary>
public sealed record SpeculativeOptions
{
    /// <summary>
    /// The model that guesses (<c>method: draft</c>): a registered name or a Hugging Face directory. Null to guess from what
    /// followed the same tokens before (<c>method: ngram</c>).
    /// </summary>
    public string? Model { get; init; }

    /// <summary>Most tokens guessed at once.</summary>
    public int NumSpeculativeTokens { get; init; } = 4;

    /// <summary>Most tokens at the end of a sequence that are looked up in what came before.</summary>
    public int PromptLookupMax { get; init; } = 3;

    /// <summary>Fewest of them.</summary>
    public int PromptLookupMin { get; init; } = 1;
}

/// <summary>Defaults of requests to a deployment; null leaves the choice to the platform.</summary>
public sealed record GenerationOptions
{
    /// <summary>Template that replaces the model's own.</summary>
    public string? ChatTemplate { get; init; }

    /// <summary>Stop strings added to each request's.</summary>
    public IReadOnlyList<string> Stop { get; init; } = [];

    /// <summary>Temperature.</summary>
    public double? Temperature { get; init; }

    /// <summary>Nucleus mass.</summary>
    public double? TopP { get; init; }

    /// <summary>Candidates kept.</summary>
    public int? TopK { get; init; }

    /// <summary>Longest output.</summary>
    public int? MaxTokens { get; init; }
}

/// <summary><c>scaling_config</c>.</summary>
public sealed record ScalingOptions
{
    /// <summary>Devices per replica, as many as <see cref="TensorParallel"/>.</summary>
    public int DevicesPerReplica { get; init; } = 1;

    /// <summary>Kind of device: <c>cpu</c> or <c>cuda</c>.</summary>
    public string Device { get; init; } = "cpu";

    /// <summary>Thousandths of each device, 1 to 1000 (<c>gpu_fraction</c> in the file, (0, 1]).</summary>
    public int DeviceMilli { get; init; } = 1000;

    /// <summary>Tensor-parallel width of a replica: ranks, each on a device of its own, that share its heads and units.</summary>
    public int TensorParallel { get; init; } = 1;

    /// <summary>How long a replica has no request before it gives its memory back; null for never.</summary>
    public double? SleepAfterSeconds { get; init; }
}
