using System.Text.Json.Nodes;
using Platform.Core.Specs;
using Platform.Core.Validation;

namespace Platform.Core.Deployments;

/// <summary>
/// Reads a deployment from the JSON form of a deployment file, or its three sections from <c>platform.v1.DeploySpec</c> or
/// <c>platform.v1.Deployment</c> with proto field names. Fills in defaults and reports everything that is wrong at once.
/// </summary>
public static class DeploymentSpecReader
{
    /// <summary>The <c>kind</c> of a deployment file.</summary>
    public const string Deployment = "Deployment";

    private static readonly Choices<string> Dtypes = Choices.Of("bf16", "fp32", "int8");

    private static readonly Choices<string> Devices = Choices.Of("cpu", "cuda");

    /// <summary>Reads a whole file: <c>kind</c>, <c>model</c> and the three sections.</summary>
    /// <param name="input">What was written; null counts as empty.</param>
    public static Validated<DeploymentSpec> Read(JsonNode? input)
    {
        var violations = new ViolationList();
        var root = SpecObject.Open(input, "", violations);
        if (!root.IsReadable)
            return violations.Conclude(input, new DeploymentSpec { Model = "" });
        if (SpecScalar.Text(root.Take("kind")) is "TrainingJob" or "CommandJob")
        {
            root.Refuse("kind", "This is a job, not a Deployment. Jobs go to the train command.");
            return violations.Conclude(input, new DeploymentSpec { Model = "" });
        }

        if (root.Has("kind"))
            root.Choice("kind", Choices.Of(Deployment), Deployment);
        else
            root.Miss("kind", Deployment);
        if (!root.Has("model"))
            root.Miss("model", "the name of a registered model");
        var spec = ReadSections(root, root.OptionalName("model") ?? "unnamed", violations);
        root.Close();
        UnavailableFeatures.CheckDeployment(input, "", violations);
        return violations.Conclude(input, spec);
    }

    /// <summary>Reads the three sections for a model that is named elsewhere.</summary>
    /// <param name="sections">An object with <c>deployment_config</c>, <c>engine_config</c> and <c>scaling_config</c>, each optional; null counts as empty.</param>
    /// <param name="model">The model's name.</param>
    public static Validated<DeploymentSpec> ReadSections(JsonNode? sections, string model)
    {
        var violations = new ViolationList();
        var root = SpecObject.Open(sections, "", violations);
        var spec = ReadSections(root, model, violations);
        root.Close();
        UnavailableFeatures.CheckDeployment(sections, "", violations);
        return violations.Conclude(sections, spec);
    }

    /// <summary>Reads the three sections as part of a larger input, whose reader closes it and checks features.</summary>
    internal static DeploymentSpec ReadSections(SpecObject root, string model, ViolationList violations)
    {
        var spec = new DeploymentSpec
        {
            Model = model,
            Deployment = ReadDeployment(root.Section("deployment_config")),
            Engine = ReadEngine(root.Section("engine_config")),
            Scaling = ReadScaling(root.Section("scaling_config")),
        };
        DeploymentSpecRules.Check(spec, root.Path, violations);
        return spec;
    }

    private static DeploymentOptions ReadDeployment(SpecObject config)
    {
        var autoscaling = config.Section("autoscaling");
        var initial = autoscaling.OptionalInt("initial_replicas", 0, 10_000);
        var min = autoscaling.OptionalInt("min_replicas", 0, 10_000);
        var max = autoscaling.OptionalInt("max_replicas", 1, 10_000);

        // What is not given follows from what is: someone who asks for three replicas has asked for room for three.
        var floor = min ?? Math.Min(1, initial ?? 1);
        var start = initial ?? Math.Max(1, floor);
        return new DeploymentOptions
        {
            MinReplicas = floor,
            InitialReplicas = start,
            MaxReplicas = max ?? Math.Max(1, start),
            TargetOngoingRequests = autoscaling.Int("target_ongoing_requests", 1, 1_000_000, 24),
            TargetOutstandingTokens = autoscaling.OptionalInt("target_outstanding_tokens", 1, int.MaxValue),
            UpscaleDelaySeconds = autoscaling.Number("upscale_delay_s", new(0, 86_400), 5),
            DownscaleDelaySeconds = autoscaling.Number("downscale_delay_s", new(0, 86_400), 300),
            MaxQueuedRequests = config.Int("max_queued_requests", 0, 1_000_000, 256),
            Priority = config.Int("priority", -1_000_000, 1_000_000, 200),
        };
    }

    private static EngineOptions ReadEngine(SpecObject engine)
    {
        var defaults = new EngineOptions();
        return new EngineOptions
        {
            MaxNumSeqs = engine.Int("max_num_seqs", 1, 65_536, defaults.MaxNumSeqs),
            MaxNumBatchedTokens = engine.Int("max_num_batched_tokens", 1, 1 << 24, defaults.MaxNumBatchedTokens),
            KvCacheBytes = engine.Size("kv_cache_bytes", 1 << 16) ?? defaults.KvCacheBytes,
            BlockSize = engine.Int("block_size", 1, 1024, defaults.BlockSize),
            EnablePrefixCaching = engine.Flag("enable_prefix_caching", defaults.EnablePrefixCaching),
            Dtype = engine.Choice("dtype", Dtypes, defaults.Dtype),
            Speculative = EngineExtras.ReadSpeculative(engine),
            Lora = EngineExtras.ReadLora(engine),
            Generation = ReadGeneration(engine.Section("generation")),
        };
    }

    private static GenerationOptions ReadGeneration(SpecObject generation) => new()
    {
        ChatTemplate = generation.OptionalText("chat_template"),
        Stop = generation.Texts("stop"),
        Temperature = generation.OptionalNumber("temperature", new(0, 100)),
        TopP = generation.OptionalNumber("top_p", new(0, 1, ExcludesMin: true)),
        TopK = generation.OptionalInt("top_k", 0, 1 << 24),
        MaxTokens = generation.OptionalInt("max_tokens", 1, 1 << 27),
    };

    private static ScalingOptions ReadScaling(SpecObject scaling)
    {
        var width = scaling.OptionalInt("tensor_parallel", 1, 1024);
        var devices = scaling.OptionalInt("devices_per_replica", 1, 1024);
        return new ScalingOptions
        {
            DevicesPerReplica = devices ?? width ?? 1,
            Device = scaling.Choice("device", Devices, "cpu"),
            DeviceMilli = (int)Math.Round(scaling.Number("gpu_fraction", new(0.001, 1), 1) * 1000),
            TensorParallel = width ?? devices ?? 1,
            SleepAfterSeconds = scaling.OptionalNumber("sleep_after_s", new(0.001, 86_400)),
        };
    }
}
