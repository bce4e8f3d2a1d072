using System.Globalization;
using System.Text.Json.Nodes;
using Platform.Core.Deployments;
using Platform.Core.Specs;

namespace Platform.Core.Jobs;

/// <summary>
/// Writes a training job in its canonical form: <c>platform.v1.JobSpec</c> as proto3 JSON with proto field names, every
/// default spelled out. <see cref="JobSpecReader.Read"/> reads it back to an equal job.
/// </summary>
public static class JobSpecWriter
{
    /// <summary>Writes a job.</summary>
    public static JsonObject ToJson(TrainingJobSpec spec)
    {
        ArgumentNullException.ThrowIfNull(spec);
        var json = new JsonObject
        {
            ["kind"] = JobSpecReader.TrainingJob,
            ["name"] = spec.Name,
            ["queue"] = spec.Queue,
            ["priority"] = spec.Priority,
            ["model"] = Write(spec.Model),
            ["data"] = Write(spec.Data),
            ["parallelism"] = Write(spec.Parallelism),
            ["lora"] = spec.Lora is { } lora ? Write(lora) : null,
            ["training"] = Write(spec.Training),
            ["optimizer"] = Write(spec.Optimizer),
            ["checkpoint"] = new JsonObject
            {
                ["every_steps"] = spec.Checkpoint.EverySteps,
                ["keep"] = spec.Checkpoint.Keep,
                ["async"] = spec.Checkpoint.Async,
            },
            ["resources"] = Write(spec.Resources),
            ["retries"] = new JsonObject { ["max_restarts"] = spec.Retries.MaxRestarts },
            ["output"] = Write(spec.Output),
        };
        if (spec.Lora is null)
            json.Remove("lora");
        return json;
    }

    private static JsonObject Write(ModelSpec model)
    {
        if (model.From is { } from)
            return new JsonObject { ["from"] = from };

        var json = new JsonObject { ["architecture"] = model.Architecture };
        json["hidden_size"] = model.HiddenSize;
        json["intermediate_size"] = model.IntermediateSize;
        json["num_hidden_layers"] = model.NumHiddenLayers;
        json["num_attention_heads"] = model.NumAttentionHeads;
        json["num_key_value_heads"] = model.NumKeyValueHeads;
        if (model.HeadDim is { } headDim)
            json["head_dim"] = headDim;
        json["max_position_embeddings"] = model.MaxPositionEmbeddings;
        json["rms_norm_eps"] = model.RmsNormEps;
        json["rope_theta"] = model.RopeTheta;
        json["tie_word_embeddings"] = model.TieWordEmbeddings;
        if (model.VocabSize is { } vocabulary)
            json["vocab_size"] = vocabulary;
        return json;
    }

    private static JsonObject Write(DataSpec data)
    {
        var json = new JsonObject
        {
            ["source"] = new JsonArray([.. data.Source.Select(source => JsonValue.Create(source))]),
            ["format"] = data.Format,
        };
        if (data.Tokenizer is not TokenizerSpec.OfModel)
        {
            json["tokenizer"] = data.Tokenizer switch
            {
                TokenizerSpec.TrainBpe bpe => new JsonObject { ["train"] = "bpe", ["vocab_size"] = bpe.VocabSize },
                TokenizerSpec.Directory directory => new JsonObject { ["path"] = directory.Path },
                _ => new JsonObject { ["byte"] = true },
            };
        }

        json["sequence_length"] = data.SequenceLength;
        json["eval_fraction"] = data.EvalFraction;
        if (data.Mixture.Count > 0)
            json["mixture"] = new JsonObject(data.Mixture.Select(entry => KeyValuePair.Create<string, JsonNode?>(entry.Source, entry.Weight)));
        return json;
    }

    private static JsonObject Write(LoraSpec lora) => new()
    {
        ["rank"] = lora.Rank,
        ["alpha"] = lora.Alpha,
        ["target_modules"] = new JsonArray([.. lora.TargetModules.Select(name => JsonValue.Create(name))]),
    };

    private static JsonObject Write(ParallelismSpec layout)
    {
        var json = new JsonObject
        {
            ["micro_batch_size"] = layout.MicroBatchSize,
            ["schedule"] = JobChoices.Schedules.Spell(layout.Schedule),
            ["virtual_stages"] = layout.VirtualStages,
            ["sequence_parallel"] = layout.SequenceParallel,
            ["zero_stage"] = layout.ZeroStage,
        };
        if (layout.Auto)
        {
            json["auto"] = true;
            return json;
        }

        json["tensor"] = layout.Tensor;
        json["pipeline"] = layout.Pipeline;
        json["data"] = layout.Data;
        return json;
    }

    private static JsonObject Write(TrainingSpec training) => new()
    {
        ["steps"] = training.Steps,
        ["global_batch_size"] = training.GlobalBatchSize,
        ["precision"] = JobChoices.Precisions.Spell(training.Precision),
        ["activation_checkpointing"] = training.ActivationCheckpointing,

        // 64-bit numbers are strings in proto3 JSON: a JSON number would lose digits above 2^53.
        ["seed"] = training.Seed.ToString(CultureInfo.InvariantCulture),
        ["eval_every"] = training.EvalEvery,
        ["z_loss_coefficient"] = training.ZLossCoefficient,
        ["loss_guard"] = new JsonObject
        {
            ["spike_z_score"] = training.LossGuard.SpikeZScore,
            ["window"] = training.LossGuard.Window,
            ["max_consecutive_skips"] = training.LossGuard.MaxConsecutiveSkips,
            ["max_skips"] = training.LossGuard.MaxSkips,
        },
    };

    private static JsonObject Write(OptimizerSpec optimizer)
    {
        var json = new JsonObject
        {
            ["name"] = optimizer.Name,
            ["lr"] = optimizer.Lr,
            ["min_lr"] = optimizer.MinLr,
            ["schedule"] = JobChoices.LearningRates.Spell(optimizer.Schedule),
            ["warmup_steps"] = optimizer.WarmupSteps,
            ["weight_decay"] = optimizer.WeightDecay,
            ["betas"] = new JsonArray(optimizer.Beta1, optimizer.Beta2),
            ["eps"] = optimizer.Eps,
            ["grad_clip"] = optimizer.GradClip,
        };
        if (optimizer.Muon is { } muon)
        {
            json["muon"] = new JsonObject
            {
                ["momentum"] = muon.Momentum,
                ["nesterov"] = muon.Nesterov,
                ["ns_steps"] = muon.NewtonSchulzSteps,
            };
        }

        return json;
    }

    private static JsonObject Write(ResourceSpec resources)
    {
        var json = new JsonObject
        {
            ["device"] = resources.Device,
            ["device_share"] = resources.DeviceMilli / 1000.0,
        };
        var topology = new JsonObject { ["tensor"] = resources.TensorTopology };
        if (resources.PipelineTopology is { } pipeline)
            topology["pipeline"] = pipeline;
        if (resources.DataTopology is { } data)
            topology["data"] = data;
        json["topology"] = topology;
        if (resources.ExpectedRuntimeSeconds is { } runtime)
            json["expected_runtime_s"] = runtime;
        if (resources.DeviceMemoryBytes is { } deviceMemory)
            json["device_memory"] = ByteSize.Format(deviceMemory);
        if (resources.MemoryBytes is { } memory)
            json["memory"] = ByteSize.Format(memory);
        if (resources.Elastic is { } elastic)
        {
            var widths = new JsonObject { ["min_data"] = elastic.MinData };
            if (elastic.MaxData is { } widest)
                widths["max_data"] = widest;
            json["elastic"] = widths;
        }

        WriteNodes(json, resources);
        return json;
    }

    /// <summary>Which nodes a job may run on, as far as that differs from the defaults.</summary>
    internal static void WriteNodes(JsonObject json, ResourceSpec resources)
    {
        if (resources.AllowsSpot)
            json["spot"] = "allowed";
        if (resources.NodeGroup is { } group)
            json["node_group"] = group;
        if (resources.Ephemeral)
            json["cluster"] = "ephemeral";
    }

    private static JsonObject Write(OutputSpec output)
    {
        var json = new JsonObject();
        if (output.RegisterAs is { } name)
            json["register_as"] = name;
        if (output.Deploy is { } deploy)
            json["deploy"] = DeploymentSpecWriter.SectionsToJson(deploy);
        return json;
    }
}
