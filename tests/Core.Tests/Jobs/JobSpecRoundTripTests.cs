using CsCheck;
using Platform.Core.Deployments;
using Platform.Core.Jobs;
using Xunit;

namespace Platform.Core.Tests.Jobs;

public sealed class JobSpecRoundTripTests
{
    private static readonly Gen<string> Name = Gen.String[Gen.Char["abcdefghijklmnopqrstuvwxyz0123456789"], 1, 20];

    private static readonly Gen<ModelSpec> Model =
        from tensor in Gen.Int[1, 4]
        from keyValueHeads in Gen.Int[1, 4]
        from sharing in Gen.Int[1, 4]
        from halfHead in Gen.Int[1, 64]
        from mlp in Gen.Int[1, 256]
        from layers in Gen.Int[4, 64]
        from context in Gen.Int[256, 4096]
        from explicitHead in Gen.Bool
        from tied in Gen.Bool
        from architecture in Gen.Int[0, 2].Select(i => new[] { "llama", "mistral", "qwen2" }[i])
        from eps in Gen.Double[1e-9, 1e-2]
        select new ModelSpec
        {
            Architecture = architecture,
            HiddenSize = tensor * keyValueHeads * sharing * halfHead * 2,
            IntermediateSize = mlp * tensor,
            NumHiddenLayers = layers,
            NumAttentionHeads = tensor * keyValueHeads * sharing,
            NumKeyValueHeads = tensor * keyValueHeads,
            HeadDim = explicitHead ? halfHead * 2 : null,
            MaxPositionEmbeddings = context,
            RmsNormEps = eps,
            TieWordEmbeddings = tied,
        };

    private static readonly Gen<TokenizerSpec> Tokenizer = Gen.OneOf<TokenizerSpec>(
        Gen.Const<TokenizerSpec>(new TokenizerSpec.Bytes()),
        Gen.Int[257, 100_000].Select(TokenizerSpec (size) => new TokenizerSpec.TrainBpe(size)),
        Name.Select(TokenizerSpec (name) => new TokenizerSpec.Directory("/models/" + name)));

    private static readonly Gen<DeploymentSpec> Deployment =
        from name in Name
        from min in Gen.Int[0, 3]
        from more in Gen.Int[1, 3]
        from initial in Gen.Int[0, 3]
        from cache in Gen.Long[1 << 16, 1L << 44]
        from share in Gen.Int[1, 1000]
        from temperature in Gen.Double[0, 2]
        from stop in Name.Array[0, 3]
        from hasGeneration in Gen.Bool
        from delay in Gen.Double[0, 1000]
        select new DeploymentSpec
        {
            Model = name,
            Deployment = new DeploymentOptions
            {
                MinReplicas = min,
                InitialReplicas = Math.Min(min + initial, min + more),
                MaxReplicas = min + more,
                DownscaleDelaySeconds = delay,
            },
            Engine = new EngineOptions
            {
                KvCacheBytes = cache,
                Dtype = "fp32",
                Generation = hasGeneration ? new GenerationOptions { Stop = stop, Temperature = temperature, ChatTemplate = "{{ x }}", TopK = 5, TopP = 0.5, MaxTokens = 9 } : new GenerationOptions(),
            },
            Scaling = new ScalingOptions { DeviceMilli = share },
        };

    private static readonly Gen<TrainingJobSpec> Job =
        from name in Name
        from model in Model
        from tokenizer in Tokenizer
        from deployment in Deployment
        from source in Name.Array[1, 4]
        from data in Gen.Int[1, 8]
        from micro in Gen.Int[1, 8]
        from pipeline in Gen.Int[1, 4]
        from batches in Gen.Int[1, 16]
        from steps in Gen.Int[100, 10_000]
        from seed in Gen.Long[0, long.MaxValue]
        from lr in Gen.Double[1e-6, 1e-1]
        from share in Gen.Int[1, 1000]
        from memory in Gen.Long[1 << 20, 1L << 50]
        from schedule in Gen.Enum<LearningRateSchedule>()
        from precision in Gen.Enum<Precision>()
        from extras in Gen.Bool
        select new TrainingJobSpec
        {
            Name = name,
            Queue = name,
            Model = model,
            Data = new DataSpec { Source = source, Tokenizer = tokenizer, SequenceLength = 256, EvalFraction = extras ? 0.125 : 0 },
            Parallelism = new ParallelismSpec
            {
                Tensor = GreatestWidth(model),
                Pipeline = pipeline,
                Data = data,
                MicroBatchSize = micro,
                Schedule = extras ? PipelineSchedule.GPipe : PipelineSchedule.OneForwardOneBackward,
            },
            Training = new TrainingSpec { Steps = steps, GlobalBatchSize = data * micro * batches, Seed = seed, Precision = precision, EvalEvery = extras ? 10 : 0 },
            Optimizer = new OptimizerSpec { Lr = lr, MinLr = lr / 3, Schedule = schedule, WarmupSteps = 20, Beta1 = lr, Eps = lr },
            Resources = new ResourceSpec
            {
                DeviceMilli = share,
                DeviceMemoryBytes = extras ? memory : null,
                MemoryBytes = extras ? null : memory,
                Elastic = batches % 3 == 0 ? null : new ElasticSpec(1, extras ? data + 1 : null),
                AllowsSpot = extras,
                NodeGroup = extras ? name : null,
                Ephemeral = !extras,
            },
            Output = extras
                ? new OutputSpec { RegisterAs = deployment.Model, Deploy = deployment }
                : new OutputSpec { Deploy = deployment with { Model = name } },
        };

    [Fact]
    public void Reading_what_was_written_gives_the_same_job() =>
        Job.Sample(job =>
        {
            var json = JobSpecWriter.ToJson(job).ToJsonString();
            var back = JobInputs.Accepted(JobInputs.Parse(json));

            Assert.Equal(json, JobSpecWriter.ToJson(back).ToJsonString());
            Assert.Equivalent(job, back, strict: true);
        }, iter: 2000);

    [Fact]
    public void Reading_what_was_written_gives_the_same_deployment() =>
        Deployment.Sample(deployment =>
        {
            var json = DeploymentSpecWriter.ToJson(deployment).ToJsonString();

            Assert.Equivalent(deployment, Deployments.DeploymentInputs.Accepted(JobInputs.Parse(json)), strict: true);
        }, iter: 2000);

    private static int GreatestWidth(ModelSpec model) =>
        new[] { 4, 3, 2, 1 }.First(width =>
            model.NumAttentionHeads % width == 0 && model.NumKeyValueHeads % width == 0 && model.IntermediateSize % width == 0);
}
