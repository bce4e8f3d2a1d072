using System.Text.Json.Nodes;
using Platform.Core.Deployments;
using Platform.Core.Validation;
using Xunit;

namespace Platform.Core.Tests.Deployments;

public sealed class DeploymentSpecReaderTests
{
    [Fact]
    public void Fills_in_the_defaults_of_a_short_deployment()
    {
        var spec = DeploymentInputs.Accepted(JsonNode.Parse("""{"kind":"Deployment","model":"docs-lm"}"""));

        Assert.Equal("docs-lm", spec.Model);
        Assert.Equal(new DeploymentOptions(), spec.Deployment);
        Assert.Equal(new ScalingOptions(), spec.Scaling);
        Assert.Equal(256L << 20, spec.Engine.KvCacheBytes);
    }

    [Fact]
    public void A_replica_of_one_rank_may_sleep()
    {
        var spec = DeploymentInputs.Accepted(JsonNode.Parse("""{"kind":"Deployment","model":"m","scaling_config":{"sleep_after_s":2.5}}"""));
        Assert.Equal(2.5, spec.Scaling.SleepAfterSeconds);
        Assert.Equal(spec, DeploymentInputs.Accepted(DeploymentSpecWriter.ToJson(spec)));

        var refused = Assert.IsType<Validated<DeploymentSpec>.Invalid>(DeploymentSpecReader.Read(
            JsonNode.Parse("""{"kind":"Deployment","model":"m","scaling_config":{"sleep_after_s":2.5,"tensor_parallel":2}}""")));
        Assert.Equal("scaling_config.sleep_after_s", Assert.Single(refused.Violations).Field);
    }

    [Fact]
    public void Reads_every_section()
    {
        var spec = DeploymentInputs.Accepted(JsonNode.Parse("""
            {
              "kind": "Deployment", "model": "docs-lm",
              "deployment_config": { "autoscaling": { "min_replicas": 0, "initial_replicas": 1, "max_replicas": 4, "target_ongoing_requests": 3, "upscale_delay_s": 0.5, "downscale_delay_s": 9 }, "max_queued_requests": 7 },
              "engine_config": { "max_num_seqs": 8, "max_num_batched_tokens": 99, "kv_cache_bytes": "512MiB", "block_size": 32, "enable_prefix_caching": false, "dtype": "fp32",
                                 "generation": { "stop": "END", "temperature": 0.7, "top_p": 0.9, "top_k": 40, "max_tokens": 10 } },
              "scaling_config": { "gpu_fraction": 0.5 }
            }
            """));

        Assert.Equal(
            new DeploymentOptions
            {
                MinReplicas = 0,
                InitialReplicas = 1,
                MaxReplicas = 4,
                TargetOngoingRequests = 3,
                UpscaleDelaySeconds = 0.5,
                DownscaleDelaySeconds = 9,
                MaxQueuedRequests = 7,
            },
            spec.Deployment);
        Assert.Equal((8, 99, 512L << 20, 32, false, "fp32"),
            (spec.Engine.MaxNumSeqs, spec.Engine.MaxNumBatchedTokens, spec.Engine.KvCacheBytes, spec.Engine.BlockSize, spec.Engine.EnablePrefixCaching, spec.Engine.Dtype));
        Assert.Equal(["END"], spec.Engine.Generation.Stop);
        Assert.Equal((0.7, 0.9, 40, 10),
            (spec.Engine.Generation.Temperature, spec.Engine.Generation.TopP, spec.Engine.Generation.TopK, spec.Engine.Generation.MaxTokens));
        Assert.Equal(500, spec.Scaling.DeviceMilli);
    }

    [Theory]
    [InlineData("""{"min_replicas":3}""", 3, 3, 3)]
    [InlineData("""{"initial_replicas":2}""", 1, 2, 2)]
    [InlineData("""{"max_replicas":4}""", 1, 1, 4)]
    [InlineData("""{"initial_replicas":0,"max_replicas":4}""", 0, 0, 4)]
    public void Derives_replica_counts_from_those_given(string autoscaling, int min, int initial, int max)
    {
        var spec = DeploymentInputs.Accepted(JsonNode.Parse(
            """{"kind":"Deployment","model":"m","deployment_config":{"autoscaling":""" + autoscaling + "}}"));

        Assert.Equal((min, initial, max), (spec.Deployment.MinReplicas, spec.Deployment.InitialReplicas, spec.Deployment.MaxReplicas));
    }

    [Fact]
    public void Reports_everything_at_once()
    {
        var violations = DeploymentInputs.Refused("""
            {
              "kind": "Deployment",
              "deployment_config": { "autoscaling": { "min_replicas": 5, "max_replicas": 3 }, "max_queued_request": 1 },
              "engine_config": { "kv_cache_bytes": "lots", "dtype": "int4" },
              "scaling_config": { "gpu_fraction": 0 }
            }
            """);

        Assert.Equal(
            [
                "model: This is required; expected the name of a registered model.",
                "deployment_config.autoscaling.min_replicas: 5 is more than max_replicas (3).",
                "deployment_config.max_queued_request: This key is not known; did you mean deployment_config.max_queued_requests?",
                "engine_config.kv_cache_bytes: \"lots\" is not a size; write a number with a unit, such as 512MiB or 40GiB.",
                "engine_config.dtype: \"int4\" is not one of bf16, fp32, int8; did you mean int8?",
                "scaling_config.gpu_fraction: 0 is out of range; allowed is at least 0.001 and at most 1.",
            ],
            violations);
    }

    [Theory]
    [InlineData("""{"tensor_parallel":2}""")]
    [InlineData("""{"devices_per_replica":2}""")]
    [InlineData("""{"devices_per_replica":2,"tensor_parallel":2}""")]
    public void Each_device_of_a_replica_holds_one_share_of_the_model(string scaling)
    {
        var spec = DeploymentInputs.Accepted(JsonNode.Parse("""{"kind":"Deployment","model":"m","scaling_config":""" + scaling + "}"));

        Assert.Equal((2, 2), (spec.Scaling.TensorParallel, spec.Scaling.DevicesPerReplica));
    }

    [Fact]
    public void A_width_that_is_not_the_number_of_devices_is_refused() =>
        Assert.Equal(
            "scaling_config.tensor_parallel: 2 differs from devices_per_replica (4); each device of a replica holds one share of the model, so give one of them.",
            Assert.Single(DeploymentInputs.Refused("""{"kind":"Deployment","model":"m","scaling_config":{"tensor_parallel":2,"devices_per_replica":4}}""")));

    [Fact]
    public void Says_where_a_job_belongs() =>
        Assert.Contains("train", Assert.Single(DeploymentInputs.Refused("""{"kind":"TrainingJob"}""")), StringComparison.Ordinal);

    [Fact]
    public void Reads_the_sections_alone()
    {
        var read = DeploymentSpecReader.ReadSections(JsonNode.Parse("""{"scaling_config":{"device":"cpu"}}"""), "m");

        Assert.Equal("m", Assert.IsType<Validated<DeploymentSpec>.Valid>(read).Value.Model);
    }
}
