using System.Text.Json.Nodes;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using Platform.Core.Deployments;
using Platform.Core.Jobs;
using Platform.Core.Validation;
using Platform.V1;
using Xunit;
using JobSpec = Platform.V1.JobSpec;

namespace Platform.Protos.Tests;

/// <summary>The job file, the reader in Platform.Core and the messages of the API have one set of names.</summary>
public sealed class SpecContractTests
{
    private static readonly JsonFormatter WithProtoNames = new(JsonFormatter.Settings.Default.WithPreserveProtoFieldNames(true));

    private const string Job = """
        {
          "kind": "TrainingJob", "name": "docs-lm", "queue": "research", "priority": 7,
          "model": { "architecture": "qwen2", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 8,
                     "num_key_value_heads": 4, "head_dim": 16, "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "rope_theta": 50000, "tie_word_embeddings": true },
          "data": { "source": ["/a", "/b/*.txt"], "format": "jsonl", "tokenizer": { "train": "bpe", "vocab_size": 4096 }, "sequence_length": 128, "eval_fraction": 0.01 },
          "parallelism": { "tensor": 2, "pipeline": 2, "data": 2, "micro_batch_size": 4, "schedule": "gpipe" },
          "training": { "steps": 300, "global_batch_size": 32, "precision": "fp64", "activation_checkpointing": "full", "seed": "9223372036854775807", "eval_every": 100,
                        "z_loss_coefficient": 1e-4, "loss_guard": { "spike_z_score": 6, "window": 64, "max_consecutive_skips": 3, "max_skips": 10 } },
          "optimizer": { "name": "muon", "muon": { "momentum": 0, "nesterov": false, "ns_steps": 6 }, "lr": 1e-3, "min_lr": 0, "schedule": "wsd", "warmup_steps": 30, "weight_decay": 0, "betas": [0, 0.9], "eps": 1e-6, "grad_clip": 0 },
          "checkpoint": { "every_steps": 0, "keep": 3, "async": false },
          "resources": { "device": "cpu", "device_share": 0.25, "device_memory": "40GiB", "memory": "1000000001B", "topology": { "tensor": "rack", "pipeline": "rack", "data": "zone" }, "expected_runtime_s": 90, "spot": "allowed", "node_group": "burst", "cluster": "ephemeral" },
          "retries": { "max_restarts": 0 },
          "output": { "register_as": "docs", "deploy": {
            "deployment_config": { "autoscaling": { "min_replicas": 0, "initial_replicas": 0, "max_replicas": 4, "target_ongoing_requests": 3, "upscale_delay_s": 0, "downscale_delay_s": 9 }, "max_queued_requests": 0, "priority": 150 },
            "engine_config": { "max_num_seqs": 8, "max_num_batched_tokens": 99, "kv_cache_bytes": "512MiB", "block_size": 32, "enable_prefix_caching": false, "dtype": "fp32",
                               "generation": { "chat_template": "{{ x }}", "stop": ["END"], "temperature": 0, "top_p": 0.9, "top_k": 0, "max_tokens": 10 } },
            "scaling_config": { "devices_per_replica": 1, "device": "cpu", "gpu_fraction": 0.5, "tensor_parallel": 1, "sleep_after_s": 30 } } }
        }
        """;

    [Fact]
    public void A_job_survives_the_message_and_its_json_unchanged()
    {
        var canonical = JobSpecWriter.ToJson(Read(JsonNode.Parse(Job))).ToJsonString();

        var message = JsonParser.Default.Parse<JobSpec>(canonical);
        var overTheWire = JobSpec.Parser.ParseFrom(message.ToByteArray());
        var back = Read(JsonNode.Parse(WithProtoNames.Format(overTheWire)));

        Assert.Equal(canonical, JobSpecWriter.ToJson(back).ToJsonString());
        Assert.Equal(long.MaxValue, back.Training.Seed);
        Assert.Equal(0, back.Optimizer.WeightDecay);
    }

    [Fact]
    public void A_deployment_survives_the_message_and_its_json_unchanged()
    {
        var spec = Read(JsonNode.Parse(Job)).Output.Deploy ?? throw new InvalidOperationException("The job deploys nothing.");
        var sections = DeploymentSpecWriter.SectionsToJson(spec).ToJsonString();

        var deployment = JsonParser.Default.Parse<Deployment>(sections);
        var jobSection = JsonParser.Default.Parse<DeploySpec>(sections);
        var read = Assert.IsType<Validated<DeploymentSpec>.Valid>(DeploymentSpecReader.ReadSections(JsonNode.Parse(WithProtoNames.Format(jobSection)), spec.Model));

        Assert.Equal(jobSection.EngineConfig, deployment.EngineConfig);
        Assert.Equal(sections, DeploymentSpecWriter.SectionsToJson(read.Value).ToJsonString());
    }

    [Fact]
    public void The_reader_knows_every_field_of_the_job_message()
    {
        foreach (var path in Paths(JobSpec.Descriptor))
        {
            var input = JsonNode.Parse(Job)?.AsObject() ?? [];
            Put(input, path.Fields);
            var violations = JobSpecReader.Read(input) is Validated<TrainingJobSpec>.Invalid invalid ? invalid.Violations : [];

            Assert.DoesNotContain(violations, violation => violation.Field == path.Name && violation.Message.Contains("not known", StringComparison.Ordinal));
        }
    }

    private static TrainingJobSpec Read(JsonNode? json) => JobSpecReader.Read(json) switch
    {
        Validated<TrainingJobSpec>.Valid valid => valid.Value,
        Validated<TrainingJobSpec>.Invalid invalid => throw new Xunit.Sdk.XunitException(string.Join("\n", invalid.Violations)),
        _ => throw new InvalidOperationException(),
    };

    // What is inside a feature that is refused as a whole is not read.
    private static IEnumerable<(string Name, IReadOnlyList<FieldDescriptor> Fields)> Paths(MessageDescriptor root)
    {
        foreach (var field in root.Fields.InDeclarationOrder())
        {
            yield return (field.Name, [field]);
            if (field.FieldType != FieldType.Message || field.IsMap || field.Name is "lora")
                continue;
            foreach (var (name, fields) in Paths(field.MessageType))
                yield return ($"{field.Name}.{name}", [field, .. fields]);
        }
    }

    private static void Put(JsonObject root, IReadOnlyList<FieldDescriptor> fields)
    {
        var at = root;
        foreach (var field in fields.SkipLast(1))
        {
            if (at[field.Name] is not JsonObject next)
                at[field.Name] = next = [];
            at = next;
        }

        at[fields[^1].Name] ??= "something";
    }
}
