using Platform.Core.Models;
using Platform.Core.Validation;
using Platform.Formats;
using Platform.Formats.HuggingFace;
using Platform.Serving.Core.Scheduling;
using Platform.Serving.Execution;
using Platform.Serving.Execution.Kernels;
using Platform.Serving.Execution.Sharding;
using Platform.Text.Tokenization;
using Platform.Torch.Models.Llama;

namespace Platform.Serving.Engine;

/// <summary>The replica's settings and its model do not fit together.</summary>
public sealed class ReplicaSettingsException : Exception
{
    /// <summary>Creates the exception.</summary>
    /// <param name="violations">All that is wrong.</param>
    public ReplicaSettingsException(IReadOnlyList<Violation> violations)
        : base("The replica cannot serve this model:" + string.Concat(violations.Select(v => $"\n  {v}")))
    {
    }
}

/// <summary>A model loaded and checked, ready for an engine. Whoever takes the executor disposes it.</summary>
/// <param name="Config">Shape of the model.</param>
/// <param name="Executor">Runs it.</param>
/// <param name="Limits">Limits that follow from model and settings.</param>
/// <param name="Tokenizer">Its tokenizer.</param>
/// <param name="EndTokens">Tokens that end a text.</param>
/// <param name="WeightBytes">Bytes of its weights in this process.</param>
/// <param name="Kernel">What its matrix products run on.</param>
/// <param name="KernelComplaint">Why the fastest kernel is not used; null when it is, or when the machine has none.</param>
/// <param name="QuantisationError">Root mean square error of its matrices relative to the exact ones.</param>
internal sealed record ReplicaModel(
    ModelConfig Config, IModelExecutor Executor, SchedulerLimits Limits, ITextTokenizer Tokenizer, IReadOnlySet<int> EndTokens,
    long WeightBytes, string Kernel, string? KernelComplaint, double QuantisationError)
{
    /// <summary>Adapters that the executor holds, number 1 first.</summary>
    public IReadOnlyList<LoadedAdapter> Adapters { get; init; } = [];

    /// <summary>Runs the model that guesses; null when there is none. Whoever takes it disposes it.</summary>
    public IModelExecutor? Draft { get; init; }

    /// <summary>Loads a model, or the leader's share of one.</summary>
    /// <param name="settings">What to serve.</param>
    /// <param name="peers">Ranks that hold the other shares and follow, owned from now on; null when there are none.</param>
    /// <exception cref="ModelFormatException">The directory is damaged or not supported.</exception>
    /// <exception cref="ReplicaSettingsException">The settings do not fit the model.</exception>
    /// <exception cref="InvalidOperationException">The model's results depend on the batch.</exception>
    public static ReplicaModel Load(ReplicaSettings settings, TensorPeers? peers = null)
    {
        using var directory = Open(settings);
        var tokenizer = TokenizerDirectory.Open(settings.ModelDirectory).Tokenizer;
        return settings.Engine.Dtype switch
        {
            "fp32" => Load<Float32Element>(settings, directory, tokenizer, WeightStorage.Plain, peers),
            "bf16" => Load<BFloat16Element>(settings, directory, tokenizer, WeightStorage.Plain, peers),
            "int8" => Load<BFloat16Element>(settings, directory, tokenizer, WeightStorage.Quantised, peers),
            var other => throw WrongType(other),
        };
    }

    /// <summary>Loads the executor of a model again that was loaded and checked before.</summary>
    /// <param name="settings">What is served.</param>
    /// <param name="limits">Limits it was loaded with.</param>
    /// <exception cref="ModelFormatException">The directory is damaged.</exception>
    public static IModelExecutor Reload(ReplicaSettings settings, SchedulerLimits limits)
    {
        using var directory = Open(settings);
        return settings.Engine.Dtype switch
        {
            "fp32" => Build<Float32Element>(settings, directory, WeightStorage.Plain, limits, null).Executor,
            "bf16" => Build<BFloat16Element>(settings, directory, WeightStorage.Plain, limits, null).Executor,
            "int8" => Build<BFloat16Element>(settings, directory, WeightStorage.Quantised, limits, null).Executor,
            var other => throw WrongType(other),
        };
    }

    /// <summary>Loads the share of a rank that follows.</summary>
    /// <param name="settings">What the leader serves.</param>
    /// <param name="peers">The other ranks, owned from now on.</param>
    /// <exception cref="ModelFormatException">The directory is damaged or not supported.</exception>
    /// <exception cref="ReplicaSettingsException">The settings do not fit the model.</exception>
    public static IModelShard LoadShard(ReplicaSettings settings, TensorPeers peers)
    {
        using var directory = Open(settings);
        return settings.Engine.Dtype switch
        {
            "fp32" => Share<Float32Element>(WeightStorage.Plain),
            "bf16" => Share<BFloat16Element>(WeightStorage.Plain),
            "int8" => Share<BFloat16Element>(WeightStorage.Quantised),
            var other => throw WrongType(other),
        };

        unsafe IModelShard Share<T>(WeightStorage storage)
            where T : unmanaged, IElement<T> =>
            Build<T>(settings, directory, storage, LimitsFor(settings, directory.Config.Model, peers.Shard, null, sizeof(T)), peers).Executor;
    }

    private static HuggingFaceModelDirectory Open(ReplicaSettings settings)
    {
        var directory = HuggingFaceModelDirectory.Open(settings.ModelDirectory);
        if (directory.Validate() is not { Count: > 0 } violations)
            return directory;
        directory.Dispose();
        throw new ModelFormatException(settings.ModelDirectory, "", string.Join(" ", violations));
    }

    private static unsafe ReplicaModel Load<T>(
        ReplicaSettings settings, HuggingFaceModelDirectory directory, ITextTokenizer tokenizer, WeightStorage storage, TensorPeers? peers)
        where T : unmanaged, IElement<T>
    {
        var config = directory.Config.Model;
        using var draft = Companions.OpenDraft(settings, config, tokenizer);
        var limits = LimitsFor(settings, config, peers?.Shard ?? TensorShard.Whole, draft?.Config.Model, sizeof(T));
        var (executor, weights, adapters, kernel, complaint) = Build<T>(settings, directory, storage, limits, peers);
        if (InvarianceSelfTest.Run(executor, limits) is { } difference)
        {
            executor.Dispose();
            throw new InvalidOperationException(
                $"On this machine {difference}: the same request would get different answers. The replica does not start.");
        }

        var ends = directory.Generation.EosTokenIds.Concat(config.EosTokenIds).ToHashSet();
        return new ReplicaModel(config, executor, limits, tokenizer, ends, weights.ByteLength, kernel, complaint, weights.Error.Relative)
        {
            Adapters = adapters,
            Draft = draft is null ? null : Build<T>(settings with { Adapters = [] }, draft, storage, limits, null).Executor,
        };
    }

    private static (ModelExecutor<T> Executor, ModelWeights<T> Weights, List<LoadedAdapter> Adapters, string Kernel, string? Complaint) Build<T>(
        ReplicaSettings settings, HuggingFaceModelDirectory directory, WeightStorage storage, SchedulerLimits limits, TensorPeers? peers)
        where T : unmanaged, IElement<T>
    {
        var (kernel, complaint) = KernelChoice.For<T>();
        var lanes = new ComputeLanes(settings.ComputeThreads);
        var (adapterWeights, adapters) = Companions.LoadAdapters<T>(settings, directory.Config.Model, peers?.Shard ?? TensorShard.Whole, lanes);
        var weights = ModelWeights<T>.Load(
            directory.Config.Model, peers?.Shard ?? TensorShard.Whole, storage, lanes, parameter => Find(directory, parameter));
        var executorLimits = new ExecutorLimits(limits.MaxBatchedTokens, limits.LongestSequence, limits.BlockSize, limits.BlockCount);
        return (new ModelExecutor<T>(weights, executorLimits, kernel, lanes, peers, adapterWeights), weights, adapters, kernel.Name, complaint);
    }

    private static SchedulerLimits LimitsFor(
        ReplicaSettings settings, ModelConfig config, TensorShard shard, ModelConfig? draft, int elementBytes)
    {
        var engine = settings.Engine;
        var violations = new List<Violation>();
        if (engine.BlockSize < 16 || engine.BlockSize % 16 != 0)
            violations.Add(new("engine_config.block_size", $"Found {engine.BlockSize}; a multiple of 16 is needed."));
        if (engine.MaxNumSeqs < 1)
            violations.Add(new("engine_config.max_num_seqs", $"Found {engine.MaxNumSeqs}; at least 1 is needed."));
        if (engine.MaxNumBatchedTokens < Math.Max(1, engine.MaxNumSeqs))
            violations.Add(new(
                "engine_config.max_num_batched_tokens",
                $"Found {engine.MaxNumBatchedTokens}; at least max_num_seqs ({engine.MaxNumSeqs}) is needed, so that every stream advances in every iteration."));
        if (TensorShard.Refusal(config, shard.Width) is { } refusal)
            violations.Add(new("scaling_config.tensor_parallel", refusal));
        if (violations.Count > 0)
            throw new ReplicaSettingsException(violations);

        // The model that guesses has a cache of as many blocks.
        var bytesPerBlock = KeyValueCacheShape.BytesPerBlock(shard.Of(config), engine.BlockSize, elementBytes)
            + (draft is null ? 0 : KeyValueCacheShape.BytesPerBlock(draft, engine.BlockSize, elementBytes));
        // More blocks than all sequences at their longest would never be used.
        var useful = (long)engine.MaxNumSeqs * ((config.MaxPositionEmbeddings + engine.BlockSize - 1) / engine.BlockSize);
        var blocks = Math.Min(engine.KvCacheBytes / bytesPerBlock, engine.EnablePrefixCaching ? long.MaxValue : useful);
        if (blocks < 2)
            throw Wrong(
                "engine_config.kv_cache_bytes",
                $"Found {engine.KvCacheBytes} bytes; one block of {engine.BlockSize} tokens takes {bytesPerBlock} bytes in this model, and at least 2 are needed.");
        return new SchedulerLimits
        {
            MaxSequences = engine.MaxNumSeqs,
            MaxBatchedTokens = engine.MaxNumBatchedTokens,
            MaxWaiting = settings.MaxQueuedRequests,
            ContextLength = config.MaxPositionEmbeddings,
            BlockSize = engine.BlockSize,
            BlockCount = (int)Math.Min(blocks, int.MaxValue / 2),
            PrefixCaching = engine.EnablePrefixCaching,
        };
    }

    private static unsafe WeightView Find(HuggingFaceModelDirectory directory, LlamaParameter parameter) =>
        new((nint)directory.Pointer(parameter.Name, out _), directory.Entry(parameter.Name).DataType);

    private static ReplicaSettingsException WrongType(string found) => Wrong("engine_config.dtype", $"Found '{found}'; use bf16, fp32 or int8.");

    private static ReplicaSettingsException Wrong(string field, string message) => new([new Violation(field, message)]);
}
