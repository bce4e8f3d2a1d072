using Platform.Core.Deployments;

namespace Platform.Core.Jobs;

/// <summary>
/// A training job as its author wrote it, with defaults filled in; the reader of job specs fills and checks it.
/// The JSON form has these names in snake case and is the job file's, the API's and the rank's alike.
/// </summary>
public sealed record TrainingJobSpec
{
    /// <summary>Short name: lower-case letters, digits and hyphens.</summary>
    public required string Name { get; init; }

    /// <summary>Tenant queue.</summary>
    public string Queue { get; init; } = "default";

    /// <summary>Higher runs first.</summary>
    public int Priority { get; init; } = 100;

    /// <summary>What to train.</summary>
    public required ModelSpec Model { get; init; }

    /// <summary>What to train on.</summary>
    public required DataSpec Data { get; init; }

    /// <summary>How to split the work.</summary>
    public ParallelismSpec Parallelism { get; init; } = new();

    /// <summary>Adapters to train in place of the model's own weights; null to train those.</summary>
    public LoraSpec? Lora { get; init; }

    /// <summary>How long and how precisely.</summary>
    public required TrainingSpec Training { get; init; }

    /// <summary>How weights are updated.</summary>
    public OptimizerSpec Optimizer { get; init; } = new();

    /// <summary>When state is saved.</summary>
    public CheckpointSpec Checkpoint { get; init; } = new();

    /// <summary>What each rank needs.</summary>
    public ResourceSpec Resources { get; init; } = new();

    /// <summary>What happens after a failure.</summary>
    public RetrySpec Retries { get; init; } = new();

    /// <summary>What happens at the end.</summary>
    public OutputSpec Output { get; init; } = new();
}

/// <summary>A shape to train from scratch, or something to continue from.</summary>
public sealed record ModelSpec
{
    /// <summary>Family: <c>llama</c>, <c>mistral</c>, <c>qwen2</c> or <c>qwen3</c>.</summary>
    public string Architecture { get; init; } = "llama";

    /// <summary>Rows of embedding and head, at least the tokenizer's vocabulary; null for just that.</summary>
    public int? VocabSize { get; init; }

    /// <summary>Width of the residual stream; zero when <see cref="From"/> is set.</summary>
    public int HiddenSize { get; init; }

    /// <summary>Width of the gated MLP.</summary>
    public int IntermediateSize { get; init; }

    /// <summary>Decoder layers.</summary>
    public int NumHiddenLayers { get; init; }

    /// <summary>Query heads.</summary>
    public int NumAttentionHeads { get; init; }

    /// <summary>Key and value heads.</summary>
    public int NumKeyValueHeads { get; init; }

    /// <summary>Elements per head; null for <c>hidden_size / num_attention_heads</c>.</summary>
    public int? HeadDim { get; init; }

    /// <summary>Longest context in tokens.</summary>
    public int MaxPositionEmbeddings { get; init; } = 2048;

    /// <summary>Epsilon of every RMS norm.</summary>
    public double RmsNormEps { get; init; } = 1e-5;

    /// <summary>Base of the rotary frequencies.</summary>
    public double RopeTheta { get; init; } = 10_000;

    /// <summary>The head uses the embedding's weights.</summary>
    public bool TieWordEmbeddings { get; init; }

    /// <summary>A registered model or a Hugging Face directory to continue from.</summary>
    public string? From { get; init; }
}

/// <summary>Training text.</summary>
public sealed record DataSpec
{
    /// <summary>Files, directories or globs.</summary>
    public IReadOnlyList<string> Source { get; init; } = [];

    /// <summary>
    /// <c>text</c>; <c>jsonl</c> (an object with <c>text</c> on each line); <c>chat</c> (an object with <c>messages</c> on each
    /// line, of which the assistant's are learnt); or <c>tokens</c> (token ids in .bin or .npy files).
    /// </summary>
    public string Format { get; init; } = "text";

    /// <summary>Where token ids come from.</summary>
    public TokenizerSpec Tokenizer { get; init; } = new TokenizerSpec.Bytes();

    /// <summary>Tokens per training sequence.</summary>
    public int SequenceLength { get; init; } = 256;

    /// <summary>Share of the sequences held out for evaluation.</summary>
    public double EvalFraction { get; init; }

    /// <summary>How often each of <see cref="Source"/> is drawn from, in their order; empty to take all of it once per epoch.</summary>
    public IReadOnlyList<MixtureWeight> Mixture { get; init; } = [];
}

/// <summary>Share of a source in what is trained on.</summary>
/// <param name="Source">An entry of <see cref="DataSpec.Source"/>.</param>
/// <param name="Weight">Above zero; shares are weights over their sum.</param>
public sealed record MixtureWeight(string Source, double Weight);

/// <summary>Where token ids come from.</summary>
public abstract record TokenizerSpec
{
    private TokenizerSpec()
    {
    }

    /// <summary>Every byte is a token.</summary>
    public sealed record Bytes : TokenizerSpec;

    /// <summary>A byte-pair tokenizer trained on the job's data.</summary>
    /// <param name="VocabSize">Number of tokens, bytes and special tokens included.</param>
    public sealed record TrainBpe(int VocabSize) : TokenizerSpec;

    /// <summary>A directory that holds <c>tokenizer.json</c>.</summary>
    /// <param name="Path">The directory.</param>
    public sealed record Directory(string Path) : TokenizerSpec;

    /// <summary>The tokenizer of the model that is continued from.</summary>
    public sealed record OfModel : TokenizerSpec;
}

/// <summary>Low-rank adapters (Hu et al. 2021) to train while the model itself stays as it is.</summary>
public sealed record LoraSpec
{
    /// <summary>Names of the projections that can have an adapter.</summary>
    public static IReadOnlyList<string> Projections { get; } = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

    /// <summary>Width of the adapters.</summary>
    public int Rank { get; init; } = 16;

    /// <summary>Adapters are scaled by alpha over rank.</summary>
    public double Alpha { get; init; } = 32;

    /// <summary>Projections that get an adapter, in every layer.</summary>
    public IReadOnlyList<string> TargetModules { get; init; } = ["q_proj", "v_proj"];
}

/// <summary>Order in which a stage works through its micro-batches.</summary>
public enum PipelineSchedule
{
    /// <summary>All forwards, then all backwards.</summary>
    GPipe,

    /// <summary>One forward, one backward: at most as many micro-batches in flight as stages are left.</summary>
    OneForwardOneBackward,

    /// <summary>One forward, one backward over several virtual stages per rank.</summary>
    Interleaved,
}

/// <summary>How the work is split over ranks.</summary>
public sealed record ParallelismSpec
{
    /// <summary>Let the planner choose.</summary>
    public bool Auto { get; init; }

    /// <summary>Tensor-parallel width.</summary>
    public int Tensor { get; init; } = 1;

    /// <summary>Pipeline stages.</summary>
    public int Pipeline { get; init; } = 1;

    /// <summary>Data-parallel width.</summary>
    public int Data { get; init; } = 1;

    /// <summary>Sequences per micro-batch.</summary>
    public int MicroBatchSize { get; init; } = 1;

    /// <summary>Order of micro-batches.</summary>
    public PipelineSchedule Schedule { get; init; } = PipelineSchedule.OneForwardOneBackward;

    /// <summary>Model chunks per pipeline rank.</summary>
    public int VirtualStages { get; init; } = 1;

    /// <summary>Split norms and residuals over the tensor group along the sequence.</summary>
    public bool SequenceParallel { get; init; }

    /// <summary>What the data group divides among its ranks: nothing (0), optimizer state (1), gradients too (2), weights too (3).</summary>
    public int ZeroStage { get; init; }

    /// <summary>Number of ranks.</summary>
    public int WorldSize => Tensor * Pipeline * Data;
}

/// <summary>Number format of weights and activations.</summary>
public enum Precision
{
    /// <summary>bfloat16 with single-precision masters, gradients and reductions.</summary>
    BFloat16,

    /// <summary>Single precision throughout.</summary>
    Float32,

    /// <summary>Double precision throughout, for parity checks.</summary>
    Float64,
}

/// <summary>How long and how precisely.</summary>
public sealed record TrainingSpec
{
    /// <summary>Optimizer steps.</summary>
    public required int Steps { get; init; }

    /// <summary>Sequences per optimizer step, over all data-parallel ranks.</summary>
    public required int GlobalBatchSize { get; init; }

    /// <summary>Number format.</summary>
    public Precision Precision { get; init; } = Precision.BFloat16;

    /// <summary><c>none</c>, <c>selective</c> or <c>full</c>.</summary>
    public string ActivationCheckpointing { get; init; } = "none";

    /// <summary>Seed of weights and of the order of the data.</summary>
    public long Seed { get; init; } = 42;

    /// <summary>Steps between evaluations on held-out text; 0 for none.</summary>
    public int EvalEvery { get; init; }

    /// <summary>Weight of the square of each token's log-sum-exp of logits in what is trained; the reported loss leaves it out.</summary>
    public double ZLossCoefficient { get; init; }

    /// <summary>Which steps are skipped.</summary>
    public LossGuardSpec LossGuard { get; init; } = new();
}

/// <summary>Shape of the learning rate over the run.</summary>
public enum LearningRateSchedule
{
    /// <summary>Half a cosine from the peak to the minimum.</summary>
    Cosine,

    /// <summary>A straight line from the peak to the minimum.</summary>
    Linear,

    /// <summary>Warm-up, stable, then a linear decay over the last fifth.</summary>
    WarmupStableDecay,

    /// <summary>The peak, throughout.</summary>
    Constant,
}

/// <summary>How weights are updated.</summary>
public sealed record OptimizerSpec
{
    /// <summary><c>adamw</c>, or <c>muon</c> for the matrices of decoder layers and AdamW for everything else.</summary>
    public string Name { get; init; } = "adamw";

    /// <summary>Peak learning rate.</summary>
    public double Lr { get; init; } = 1e-3;

    /// <summary>Learning rate at the end.</summary>
    public double MinLr { get; init; } = 1e-4;

    /// <summary>Shape in between.</summary>
    public LearningRateSchedule Schedule { get; init; } = LearningRateSchedule.Cosine;

    /// <summary>Steps of linear warm-up.</summary>
    public int WarmupSteps { get; init; }

    /// <summary>Decoupled weight decay, on matrices only.</summary>
    public double WeightDecay { get; init; } = 0.1;

    /// <summary>Decay of the first moment.</summary>
    public double Beta1 { get; init; } = 0.9;

    /// <summary>Decay of the second moment.</summary>
    public double Beta2 { get; init; } = 0.95;

    /// <summary>Added to the root of the second moment.</summary>
    public double Eps { get; init; } = 1e-8;

    /// <summary>Largest gradient norm; 0 for no clipping.</summary>
    public double GradClip { get; init; } = 1;

    /// <summary>Constants of Muon; null for AdamW throughout.</summary>
    public MuonSpec? Muon { get; init; }
}

/// <summary>When state is saved.</summary>
public sealed record CheckpointSpec
{
    /// <summary>Steps between checkpoints; 0 for none but the final model.</summary>
    public int EverySteps { get; init; } = 100;

    /// <summary>Checkpoints kept.</summary>
    public int Keep { get; init; } = 2;

    /// <summary>Write while training goes on.</summary>
    public bool Async { get; init; } = true;
}

/// <summary>What each rank needs.</summary>
public sealed record ResourceSpec
{
    /// <summary>Kind of device: <c>cpu</c> or <c>cuda</c>.</summary>
    public string Device { get; init; } = "cpu";

    /// <summary>Thousandths of a device per rank, 1 to 1000.</summary>
    public int DeviceMilli { get; init; } = 1000;

    /// <summary>Device memory a rank needs; null for whatever its share is.</summary>
    public long? DeviceMemoryBytes { get; init; }

    /// <summary>Host memory a rank needs; null for no claim.</summary>
    public long? MemoryBytes { get; init; }

    /// <summary>Level within which a tensor group must stay: <c>node</c>, <c>block</c>, <c>rack</c> or <c>zone</c>.</summary>
    public string TensorTopology { get; init; } = "node";

    /// <summary>Level within which a data group must stay; null for as near as possible.</summary>
    public string? DataTopology { get; init; }

    /// <summary>Level within which a pipeline group must stay; null for as near as possible.</summary>
    public string? PipelineTopology { get; init; }

    /// <summary>How long the job's author expects it to run; null when unknown. Lets others run before it or it before others (backfill).</summary>
    public double? ExpectedRuntimeSeconds { get; init; }

    /// <summary>Other data-parallel widths at which the gang may run; null for none.</summary>
    public ElasticSpec? Elastic { get; init; }

    /// <summary>Whether it may run on nodes that can be taken away at short notice, and be moved by checkpoint.</summary>
    public bool AllowsSpot { get; init; }

    /// <summary>Node group that its ranks must be on; null for any.</summary>
    public string? NodeGroup { get; init; }

    /// <summary>Whether nodes are to be created for it alone and removed after it.</summary>
    public bool Ephemeral { get; init; }
}

/// <summary>What happens after a failure.</summary>
public sealed record RetrySpec
{
    /// <summary>Attempts after the first before the job fails.</summary>
    public int MaxRestarts { get; init; } = 5;
}

/// <summary>What happens at the end.</summary>
public sealed record OutputSpec
{
    /// <summary>Name to register the model under; null for the job's name.</summary>
    public string? RegisterAs { get; init; }

    /// <summary>Deploy the model once it is registered; its <see cref="DeploymentSpec.Model"/> is the registered name.</summary>
    public DeploymentSpec? Deploy { get; init; }
}
