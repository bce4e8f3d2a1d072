using System.Text.Json.Nodes;
using Platform.Core.Deployments;
using Platform.Core.Specs;
using Platform.Core.Validation;

namespace Platform.Core.Jobs;

/// <summary>
/// Reads a training job from the JSON form of a job file, of <c>platform.v1.JobSpec</c> with proto field names, or of
/// <see cref="JobSpecWriter"/>; they are the same form. Fills in defaults and reports everything that is wrong at once.
/// </summary>
public static class JobSpecReader
{
    /// <summary>The <c>kind</c> of a training job.</summary>
    public const string TrainingJob = "TrainingJob";

    /// <summary>
    /// Reads a job. Numbers may be written as strings, sizes with units, a single source without a list; a tokenizer
    /// as <c>{train: bpe, vocab_size}</c>, as <c>byte</c>, or as a directory.
    /// </summary>
    /// <param name="input">What was written; null counts as empty.</param>
    public static Validated<TrainingJobSpec> Read(JsonNode? input)
    {
        var violations = new ViolationList();
        var root = SpecObject.Open(input, "", violations);
        if (!root.IsReadable || !IsTrainingJob(root))
            return violations.Conclude<TrainingJobSpec>(input, Nothing);

        var spec = ReadJob(root, violations);
        root.Close();
        UnavailableFeatures.CheckJob(input, violations);
        UnavailableFeatures.CheckDeployment(input, "output.deploy", violations);
        JobSpecRules.Check(spec, violations);
        return violations.Conclude(input, spec);
    }

    private static TrainingJobSpec Nothing => new()
    {
        Name = "",
        Model = new ModelSpec(),
        Data = new DataSpec(),
        Training = new TrainingSpec { Steps = 1, GlobalBatchSize = 1 },
    };

    private static bool IsTrainingJob(SpecObject root)
    {
        switch (SpecScalar.Text(root.Take("kind")))
        {
            case CommandJobReader.CommandJob:
                root.Refuse("kind", "This is a CommandJob, which trains nothing that could be planned; expected TrainingJob.");
                return false;
            case DeploymentSpecReader.Deployment:
                root.Refuse("kind", "This is a Deployment, not a job; expected TrainingJob. Deployments go to the deploy command.");
                return false;
        }

        if (root.Has("kind"))
            root.Choice("kind", Choices.Of(TrainingJob), TrainingJob);
        else
            root.Miss("kind", TrainingJob);
        return true;
    }

    private static TrainingJobSpec ReadJob(SpecObject root, ViolationList violations)
    {
        var name = root.OptionalName("name");
        if (!root.Has("name"))
            root.Miss("name", "a name for the job: " + ResourceId.Rule);
        foreach (var key in (ReadOnlySpan<string>)["command", "image", "env"])
        {
            if (root.Take(key) is not null)
                root.Refuse(key, "Only a CommandJob has this key; a TrainingJob does not run a program of its own.");
        }

        var training = ReadTraining(root.Section("training"));
        return new TrainingJobSpec
        {
            Name = name ?? "unnamed",
            Queue = root.OptionalName("queue") ?? "default",
            Priority = root.Int("priority", -1_000_000, 1_000_000, 100),
            Model = ReadModel(root.Section("model")),
            Data = ReadData(root.Section("data"), continues: root.Take("model") is JsonObject model && model["from"] is not null),
            Parallelism = ReadParallelism(root),
            Lora = StartingPointReader.ReadLora(root),
            Training = training,
            Optimizer = ReadOptimizer(root.Section("optimizer")),
            Checkpoint = ReadCheckpoint(root.Section("checkpoint")),
            Resources = ReadResources(root.Section("resources")),
            Retries = new RetrySpec { MaxRestarts = root.Section("retries").Int("max_restarts", 0, 10_000, 5) },
            Output = ReadOutput(root.Section("output"), name, violations),
        };
    }

    private static ModelSpec ReadModel(SpecObject model)
    {
        var from = model.OptionalText("from");
        int? absent = from is null ? null : 0;
        StartingPointReader.RefuseShape(model);
        var heads = model.Int("num_attention_heads", 1, 65_536, absent);
        return new ModelSpec
        {
            Architecture = model.Choice("architecture", JobChoices.Architectures, "llama"),
            HiddenSize = model.Int("hidden_size", 1, 1 << 20, absent),
            IntermediateSize = model.Int("intermediate_size", 1, 1 << 22, absent),
            NumHiddenLayers = model.Int("num_hidden_layers", 1, 10_000, absent),
            NumAttentionHeads = heads,
            NumKeyValueHeads = model.Int("num_key_value_heads", 1, 65_536, heads),
            HeadDim = model.OptionalInt("head_dim", 2, 65_536),
            MaxPositionEmbeddings = model.Int("max_position_embeddings", 1, 1 << 27, 2048),
            RmsNormEps = model.Number("rms_norm_eps", new(0, 1, ExcludesMin: true), 1e-5),
            RopeTheta = model.Number("rope_theta", new(1, 1e12), 10_000),
            TieWordEmbeddings = model.Flag("tie_word_embeddings", false),
            VocabSize = model.OptionalInt("vocab_size", 1, 1 << 24),
            From = from,
        };
    }

    private static DataSpec ReadData(SpecObject data, bool continues)
    {
        var source = data.Texts("source");
        if (!data.Has("source"))
            data.Miss("source", "files, directories or globs to train on");
        else if (data.Take("source") is JsonArray { Count: 0 })
            data.Refuse("source", "The list is empty; name at least one file, directory or glob.");
        return new DataSpec
        {
            Source = source,
            Format = data.Choice("format", JobChoices.Formats, "text"),
            Tokenizer = continues && !data.Has("tokenizer") ? new TokenizerSpec.OfModel() : TokenizerSpecReader.Read(data, "tokenizer"),
            SequenceLength = data.Int("sequence_length", 1, 1 << 27, 256),
            EvalFraction = data.Number("eval_fraction", new(0, 0.5), 0),
            Mixture = StartingPointReader.ReadMixture(data, source),
        };
    }

    private static ParallelismSpec ReadParallelism(SpecObject root)
    {
        if (SpecScalar.Text(root.Take("parallelism")) is { } word)
        {
            if (word != "auto")
                root.Refuse("parallelism", $"\"{word}\" is not a layout; write auto, or give tensor, pipeline and data.");
            return new ParallelismSpec { Auto = word == "auto" };
        }

        var layout = root.Section("parallelism");
        return new ParallelismSpec
        {
            Auto = layout.Flag("auto", false),
            Tensor = layout.Int("tensor", 1, 1024, 1),
            Pipeline = layout.Int("pipeline", 1, 1024, 1),
            Data = layout.Int("data", 1, 65_536, 1),
            MicroBatchSize = layout.Int("micro_batch_size", 1, 1 << 20, 1),
            Schedule = layout.Choice("schedule", JobChoices.Schedules, PipelineSchedule.OneForwardOneBackward),
            VirtualStages = layout.Int("virtual_stages", 1, 1024, 1),
            SequenceParallel = layout.Flag("sequence_parallel", false),
            ZeroStage = layout.Int("zero_stage", 0, 3, 0),
        };
    }

    private static TrainingSpec ReadTraining(SpecObject training) => new()
    {
        Steps = training.Int("steps", 1, 1_000_000_000),
        GlobalBatchSize = training.Int("global_batch_size", 1, 1 << 24),
        Precision = training.Choice("precision", JobChoices.Precisions, Precision.BFloat16),
        ActivationCheckpointing = training.Choice("activation_checkpointing", JobChoices.ActivationCheckpointing, "none"),
        Seed = training.Long("seed", 0, long.MaxValue, 42),
        EvalEvery = training.Int("eval_every", 0, 1_000_000_000, 0),
        ZLossCoefficient = training.Number("z_loss_coefficient", new(0, 1), 0),
        LossGuard = ReadLossGuard(training.Section("loss_guard")),
    };

    private static LossGuardSpec ReadLossGuard(SpecObject guard) => new()
    {
        SpikeZScore = guard.Number("spike_z_score", new(0, 1e6), 0),
        Window = guard.Int("window", 2, 100_000, 128),
        MaxConsecutiveSkips = guard.Int("max_consecutive_skips", 1, 1_000_000, 5),
        MaxSkips = guard.Int("max_skips", 1, 1_000_000_000, 100),
    };

    private static OptimizerSpec ReadOptimizer(SpecObject optimizer)
    {
        var lr = optimizer.Number("lr", new(0, 10, ExcludesMin: true), 1e-3);
        var (beta1, beta2) = ReadBetas(optimizer);
        var name = optimizer.Choice("name", JobChoices.Optimizers, "adamw");
        var muon = ReadMuon(optimizer.Section("muon"));
        if (name != "muon" && optimizer.Has("muon"))
            optimizer.Refuse("muon", "Only the optimizer muon has these; set optimizer.name to muon or remove the section.");
        return new OptimizerSpec
        {
            Name = name,
            Muon = name == "muon" ? muon : null,
            Lr = lr,
            MinLr = optimizer.Number("min_lr", new(0, 10), Math.Min(1e-4, lr)),
            Schedule = optimizer.Choice("schedule", JobChoices.LearningRates, LearningRateSchedule.Cosine),
            WarmupSteps = optimizer.Int("warmup_steps", 0, 1_000_000_000, 0),
            WeightDecay = optimizer.Number("weight_decay", new(0, 100), 0.1),
            Beta1 = beta1,
            Beta2 = beta2,
            Eps = optimizer.Number("eps", new(0, 1, ExcludesMin: true), 1e-8),
            GradClip = optimizer.Number("grad_clip", new(0, 1e9), 1),
        };
    }

    private static MuonSpec ReadMuon(SpecObject muon) => new()
    {
        Momentum = muon.Number("momentum", new(0, 1, ExcludesMax: true), 0.95),
        Nesterov = muon.Flag("nesterov", true),
        NewtonSchulzSteps = muon.Int("ns_steps", 1, 100, 5),
    };

    private static (double Beta1, double Beta2) ReadBetas(SpecObject optimizer)
    {
        var absent = (0.9, 0.95);
        var node = optimizer.Take("betas");
        if (node is null)
            return absent;
        if (node is not JsonArray { Count: 2 } pair)
        {
            optimizer.Refuse("betas", $"Found {SpecScalar.Show(node)}; expected a list of two numbers, each at least 0 and below 1.");
            return absent;
        }

        var range = new NumberRange(0, 1, ExcludesMax: true);
        for (var i = 0; i < 2; i++)
        {
            if (SpecScalar.Number(pair[i]) is not { } beta || !range.Contains(beta))
                optimizer.Refuse($"betas[{i}]", $"{SpecScalar.Show(pair[i])} is not allowed; expected a number {range}.");
        }

        return (SpecScalar.Number(pair[0]) ?? absent.Item1, SpecScalar.Number(pair[1]) ?? absent.Item2);
    }

    private static CheckpointSpec ReadCheckpoint(SpecObject checkpoint) => new()
    {
        EverySteps = checkpoint.Int("every_steps", 0, 1_000_000_000, 100),
        Keep = checkpoint.Int("keep", 1, 1_000_000, 2),
        Async = checkpoint.Flag("async", true),
    };

    private static ResourceSpec ReadResources(SpecObject resources)
    {
        foreach (var key in (ReadOnlySpan<string>)["ranks", "devices_per_rank"])
        {
            if (resources.Take(key) is not null)
                resources.Refuse(key, "Only a CommandJob has this key; a TrainingJob has tensor × pipeline × data ranks of one device each.");
        }

        var topology = resources.Section("topology");
        return new ResourceSpec
        {
            Device = resources.Choice("device", JobChoices.Devices, "cpu"),
            DeviceMilli = (int)Math.Round(resources.Number("device_share", new(0.001, 1), 1) * 1000),
            DeviceMemoryBytes = resources.Size("device_memory", 1 << 20),
            MemoryBytes = resources.Size("memory", 1 << 20),
            TensorTopology = topology.Choice("tensor", JobChoices.TopologyLevels, "node"),
            DataTopology = topology.Has("data") ? topology.Choice("data", JobChoices.TopologyLevels, "zone") : null,
            PipelineTopology = topology.Has("pipeline") ? topology.Choice("pipeline", JobChoices.TopologyLevels, "zone") : null,
            ExpectedRuntimeSeconds = resources.Has("expected_runtime_s") ? resources.Number("expected_runtime_s", new(0, 1e9, ExcludesMin: true), 1) : null,
            Elastic = resources.Has("elastic") ? ReadElastic(resources.Section("elastic")) : null,
            AllowsSpot = resources.Choice("spot", JobChoices.Spot, "forbidden") == "allowed",
            NodeGroup = resources.OptionalName("node_group"),
            Ephemeral = resources.Choice("cluster", JobChoices.Clusters, "shared") == "ephemeral",
        };
    }

    private static ElasticSpec ReadElastic(SpecObject elastic) =>
        new(elastic.Int("min_data", 1, 65_536, 1), elastic.OptionalInt("max_data", 1, 65_536));

    private static OutputSpec ReadOutput(SpecObject output, string? jobName, ViolationList violations)
    {
        var registerAs = output.OptionalName("register_as");
        output.Know("deploy");
        return new OutputSpec
        {
            RegisterAs = registerAs,
            Deploy = output.Has("deploy")
                ? DeploymentSpecReader.ReadSections(output.Section("deploy"), registerAs ?? jobName ?? "unnamed", violations)
                : null,
        };
    }
}
