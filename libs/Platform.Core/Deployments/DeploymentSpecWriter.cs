using System.Text.Json.Nodes;
using Platform.Core.Specs;

namespace Platform.Core.Deployments;

/// <summary>
/// Writes a deployment in its canonical form, proto3 JSON with proto field names and every default spelled out;
/// <see cref="DeploymentSpecReader"/> reads it back to an equal deployment.
/// </summary>
public static class DeploymentSpecWriter
{
    /// <summary>Writes the form of a deployment file: kind, model and the three sections.</summary>
    public static JsonObject ToJson(DeploymentSpec spec)
    {
        ArgumentNullException.ThrowIfNull(spec);
        var json = new JsonObject { ["kind"] = DeploymentSpecReader.Deployment, ["model"] = spec.Model };
        foreach (var (name, section) in SectionsToJson(spec).ToList())
            json[name] = section?.DeepClone();
        return json;
    }

    /// <summary>Writes the three sections, as <c>platform.v1.DeploySpec</c> and <c>platform.v1.Deployment</c> have them.</summary>
    public static JsonObject SectionsToJson(DeploymentSpec spec)
    {
        ArgumentNullException.ThrowIfNull(spec);
        var autoscaling = new JsonObject
        {
            ["min_replicas"] = spec.Deployment.MinReplicas,
            ["initial_replicas"] = spec.Deployment.InitialReplicas,
            ["max_replicas"] = spec.Deployment.MaxReplicas,
            ["target_ongoing_requests"] = spec.Deployment.TargetOngoingRequests,
            ["upscale_delay_s"] = spec.Deployment.UpscaleDelaySeconds,
            ["downscale_delay_s"] = spec.Deployment.DownscaleDelaySeconds,
        };
        if (spec.Deployment.TargetOutstandingTokens is { } tokens)
            autoscaling["target_outstanding_tokens"] = tokens;
        var sections = new JsonObject
        {
            ["deployment_config"] = new JsonObject
            {
                ["autoscaling"] = autoscaling,
                ["max_queued_requests"] = spec.Deployment.MaxQueuedRequests,
                ["priority"] = spec.Deployment.Priority,
            },
            ["engine_config"] = new JsonObject
            {
                ["max_num_seqs"] = spec.Engine.MaxNumSeqs,
                ["max_num_batched_tokens"] = spec.Engine.MaxNumBatchedTokens,
                ["kv_cache_bytes"] = ByteSize.Format(spec.Engine.KvCacheBytes),
                ["block_size"] = spec.Engine.BlockSize,
                ["enable_prefix_caching"] = spec.Engine.EnablePrefixCaching,
                ["dtype"] = spec.Engine.Dtype,
                ["generation"] = Write(spec.Engine.Generation),
            },
            ["scaling_config"] = new JsonObject
            {
                ["devices_per_replica"] = spec.Scaling.DevicesPerReplica,
                ["device"] = spec.Scaling.Device,
                ["gpu_fraction"] = spec.Scaling.DeviceMilli / 1000.0,
                ["tensor_parallel"] = spec.Scaling.TensorParallel,
            },
        };
        if (spec.Scaling.SleepAfterSeconds is { } seconds)
            sections["scaling_config"]?.AsObject().Add("sleep_after_s", seconds);
        if (sections["engine_config"] is JsonObject engine)
            EngineExtras.Write(spec.Engine, engine);
        return sections;
    }

    private static JsonObject Write(GenerationOptions generation)
    {
        var json = new JsonObject();
        if (generation.ChatTemplate is { } template)
            json["chat_template"] = template;
        if (generation.Stop.Count > 0)
            json["stop"] = new JsonArray([.. generation.Stop.Select(stop => JsonValue.Create(stop))]);
        if (generation.Temperature is { } temperature)
            json["temperature"] = temperature;
        if (generation.TopP is { } topP)
            json["top_p"] = topP;
        if (generation.TopK is { } topK)
            json["top_k"] = topK;
        if (generation.MaxTokens is { } maxTokens)
            json["max_tokens"] = maxTokens;
        return json;
    }
}
