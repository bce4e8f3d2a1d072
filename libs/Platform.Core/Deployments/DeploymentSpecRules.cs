using Platform.Core.Specs;

namespace Platform.Core.Deployments;

/// <summary>What the fields of a deployment must be to each other.</summary>
internal static class DeploymentSpecRules
{
    /// <summary>Notes every rule that does not hold and whose fields are otherwise good.</summary>
    /// <param name="spec">What was read.</param>
    /// <param name="path">Path of its sections in the input.</param>
    /// <param name="violations">Takes what is wrong.</param>
    public static void Check(DeploymentSpec spec, string path, ViolationList violations)
    {
        var autoscaling = FieldPath.Join(path, "deployment_config.autoscaling");
        string min = autoscaling + ".min_replicas", initial = autoscaling + ".initial_replicas", max = autoscaling + ".max_replicas";
        var options = spec.Deployment;
        violations.Require(
            options.MinReplicas <= options.MaxReplicas, [min, max],
            $"{options.MinReplicas} is more than max_replicas ({options.MaxReplicas}).");
        violations.Require(
            options.InitialReplicas >= options.MinReplicas && options.InitialReplicas <= options.MaxReplicas, [initial, min, max],
            $"{options.InitialReplicas} is not between min_replicas ({options.MinReplicas}) and max_replicas ({options.MaxReplicas}).");

        var scaling = FieldPath.Join(path, "scaling_config");
        violations.Require(
            spec.Scaling.DevicesPerReplica == spec.Scaling.TensorParallel,
            [scaling + ".tensor_parallel", scaling + ".devices_per_replica"],
            $"{spec.Scaling.TensorParallel} differs from devices_per_replica ({spec.Scaling.DevicesPerReplica}); each device of a replica holds one share of the model, so give one of them.");
        violations.Require(
            spec.Scaling.SleepAfterSeconds is null || spec.Scaling.TensorParallel == 1,
            [scaling + ".sleep_after_s", scaling + ".tensor_parallel"],
            "A replica of several ranks cannot sleep; leave sleep_after_s away, or set min_replicas to 0 to stop idle replicas.");

        var engine = FieldPath.Join(path, "engine_config");
        violations.Require(
            spec.Engine.Lora is null || spec.Engine.Lora.Adapters.All(adapter => adapter.Name != spec.Model),
            [engine + ".lora.adapters"], $"An adapter has the model's own name ({spec.Model}).");
    }
}
