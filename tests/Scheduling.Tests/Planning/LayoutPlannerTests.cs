using Platform.Core.Jobs;
using Platform.Core.Models;
using Platform.Scheduling.Planning;
using Xunit;

namespace Platform.Scheduling.Tests.Planning;

public sealed class LayoutPlannerTests
{
    private const long GiB = 1L << 30;

    /// <summary>
    /// Megatron-LM's published table (github.com/NVIDIA/Megatron-LM, README, images/model_table.png: H100 with 80 GB,
    /// sequence 4096, vocabulary 131072). Its models have an ungated MLP of four times the hidden size; a gated one of 8/3
    /// has as many weights. Two of its nine rows, 70B and 314B, are left out: their states without sharding exceed what a
    /// plan fills.
    /// </summary>
    [Theory]
    [InlineData("1.7B", 16, 2048, 24, 48, 192, 1, 1, 0.41)]
    [InlineData("7.1B", 32, 4096, 30, 96, 192, 2, 1, 0.47)]
    [InlineData("16B", 48, 6144, 32, 192, 192, 4, 1, 0.49)]
    [InlineData("32B", 56, 7168, 48, 384, 192, 8, 1, 0.46)]
    [InlineData("119B", 80, 10240, 92, 1536, 768, 8, 4, 0.43)]
    [InlineData("177B", 96, 12288, 96, 2304, 1152, 8, 6, 0.44)]
    [InlineData("462B", 144, 18432, 112, 6144, 3072, 8, 16, 0.47)]
    public void Chooses_the_layouts_of_megatrons_published_table(
        string name, int heads, int hidden, int layers, int devices, int batch, int tensor, int pipeline, double publishedMfu)
    {
        var job = Job(Shape(heads, heads, hidden, layers, 131_072, inner: (8 * hidden / 3) + 7 & ~7), batch, sequence: 4096);

        var plan = Choose(job, PlannedCluster.Of(devices / 8, 8, 80 * GiB, Profile("h100"), null));

        Assert.True(plan.Infeasible.Length == 0, plan.Infeasible);
        Assert.Equal((name, tensor, pipeline, 48), (name, plan.Chosen.Layout.Tensor, plan.Chosen.Layout.Pipeline, plan.Chosen.Layout.Data));
        Assert.InRange(plan.Chosen.Step.ModelFlopsUtilization, publishedMfu * 0.7, publishedMfu * 1.3);
    }

    [Fact]
    public void Says_why_twelve_billion_weights_on_eight_devices_of_40_gb_need_tensor_8_or_zero_3()
    {
        var cluster = PlannedCluster.Of(1, 8, 40_000_000_000, Profile("a100"), 2.5);
        var job = Job(Shape(40, 8, 5120, 42, 32_000, inner: 14_336), batch: 64, sequence: 2048, tensor: 4, data: 2);

        var plan = LayoutPlanner.Predict(job, Model(job), cluster, _ => true, []);

        Assert.Contains("does not fit", plan.Infeasible, StringComparison.Ordinal);
        Assert.Contains("tensor 8,", plan.Infeasible, StringComparison.Ordinal);
        Assert.Contains("zero_stage 3 with data 8", plan.Infeasible, StringComparison.Ordinal);

        // 18 bytes per weight: a quarter of the model is too much, an eighth is not; sharding the optimizer alone is not enough.
        Assert.InRange(plan.Model.ParameterCount, 11_000_000_000, 13_000_000_000);
        Assert.InRange(plan.Chosen.Memory.States, (long)(plan.Model.ParameterCount * 18 / 4 * 0.99), (long)(plan.Model.ParameterCount * 18 / 4 * 1.01));
        foreach (var (tensor, zero) in new[] { (1, 1), (2, 0), (4, 0), (4, 1) })
            Assert.Contains(plan.Rejected, layout => layout.Layout.Tensor == tensor && layout.Layout.ZeroStage == zero && layout.Layout.Pipeline == 1);
        var chosen = Choose(job with { Parallelism = new ParallelismSpec { Auto = true } }, cluster);
        Assert.Equal((8, 1, 1), (chosen.Chosen.Layout.Tensor, chosen.Chosen.Layout.Pipeline, chosen.Chosen.Layout.Data));
        Assert.Contains("8 are the fewest that model and cluster allow: tensor 8.", chosen.Reason, StringComparison.Ordinal);
        Assert.Contains(chosen.Alternatives, layout => layout.Layout.ZeroStage == 3);
        Assert.True(chosen.Cost > 0);
    }

    [Fact]
    public void Says_what_is_missing_when_nothing_fits()
    {
        var job = Job(Shape(64, 8, 8192, 80, 128_000, inner: 28_672), batch: 64, sequence: 4096);

        var plan = Choose(job, PlannedCluster.Of(1, 8, 40 * GiB, Profile("a100"), null));

        Assert.Contains("No layout fits these 8 devices", plan.Infeasible, StringComparison.Ordinal);
        Assert.Empty(plan.Alternatives);
        Assert.NotEmpty(plan.Rejected);
    }

    [Fact]
    public void Respects_every_constraint_of_model_batch_and_cluster()
    {
        const int Seed = 20260822;
        var random = new Random(Seed);
        for (int round = 0; round < 60; round++)
        {
            int groups = random.Next(1, 9), perGroup = random.Next(1, 5), layers = random.Next(1, 20), batch = random.Next(1, 65);
            var job = Job(Shape(groups * perGroup, groups, 64 * groups * perGroup, layers, random.Next(300, 5000), inner: 12 * random.Next(1, 40)), batch, sequence: 128);
            var cluster = PlannedCluster.Of(random.Next(1, 5), random.Next(1, 9), random.Next(1, 64) * (GiB / 16), Profile("cpu"), null);

            var plan = Choose(job, cluster);

            var (layout, model) = (plan.Chosen.Layout, plan.Model);
            string what = $"seed {Seed}, round {round}: {layout}";
            Assert.True(layout.WorldSize <= cluster.Devices && layout.Tensor <= cluster.DevicesPerNode, what);
            Assert.True(model.NumAttentionHeads % layout.Tensor == 0 && model.NumKeyValueHeads % layout.Tensor == 0 && model.IntermediateSize % layout.Tensor == 0, what);
            Assert.True(layout.Pipeline <= layers && batch % (layout.Data * layout.MicroBatchSize) == 0, what);
            Assert.Equal(plan.Infeasible.Length == 0, plan.Chosen.Memory.Total <= cluster.UsableBytes);
            Assert.All(plan.Alternatives, other => Assert.True(other.Memory.Total <= cluster.UsableBytes, what));
            Assert.All(plan.Rejected, other => Assert.NotEmpty(other.Reason));
        }
    }

    [Fact]
    public void Uses_only_what_the_engine_has()
    {
        var job = Job(Shape(40, 8, 5120, 40, 32_000, inner: 13_824), batch: 64, sequence: 2048);

        var plan = LayoutPlanner.Choose(
            job, Model(job), PlannedCluster.Of(1, 8, 40 * GiB, Profile("a100"), null),
            each => each.Parallelism is { ZeroStage: 0, SequenceParallel: false }, []);

        Assert.All(plan.Alternatives.Append(plan.Chosen), each => Assert.True(each.Layout is { ZeroStage: 0, SequenceParallel: false }));
    }

    [Fact]
    public void Recomputes_when_activations_alone_are_too_much()
    {
        var job = Job(Shape(16, 16, 2048, 24, 32_000, inner: 5504), batch: 8, sequence: 4096);

        var roomy = Choose(job, PlannedCluster.Of(1, 1, 80 * GiB, Profile("h100"), null));
        var tight = Choose(job, PlannedCluster.Of(1, 1, 27 * GiB, Profile("h100"), null));

        Assert.Equal("none", roomy.Chosen.Recomputation);
        Assert.NotEqual("none", tight.Chosen.Recomputation);
        Assert.True(tight.Chosen.Memory.Activations < roomy.Chosen.Memory.Activations);
        Assert.True(tight.Chosen.Step.Seconds > roomy.Chosen.Step.Seconds);
    }

    [Theory]
    [InlineData(0, Precision.BFloat16, 18.0)]
    [InlineData(1, Precision.BFloat16, 6 + (12.0 / 4))]
    [InlineData(0, Precision.Float32, 16.0)]
    [InlineData(1, Precision.Float32, 8 + (8.0 / 4))]
    public void Counts_the_published_bytes_of_states_per_weight(int zero, Precision precision, double bytes)
    {
        var job = Job(Shape(8, 4, 512, 4, 1000, inner: 1024), batch: 8, sequence: 128, data: 4);
        job = job with { Parallelism = job.Parallelism with { ZeroStage = zero }, Training = job.Training with { Precision = precision } };
        var model = Model(job);

        Assert.Equal(bytes * model.ParameterCount, new MemoryModel(job, model).Fullest().States, 1.0);
    }

    /// <summary>Frozen weights are held once in the compute type; only adapters have gradients, masters and moments, and products of their own gradients.</summary>
    [Fact]
    public void Counts_adapters_instead_of_what_they_leave_frozen()
    {
        var full = Job(Shape(8, 4, 512, 4, 1000, inner: 1024), batch: 8, sequence: 128);
        full = full with { Training = full.Training with { Precision = Precision.BFloat16 } };
        var adapted = full with { Lora = new LoraSpec { Rank = 8, TargetModules = ["q_proj", "v_proj", "down_proj"] } };
        var model = Model(full);
        double adapters = 4 * 8 * ((512 + 512) + (512 + 256) + (1024 + 512));

        Assert.Equal((2.0 * model.ParameterCount) + (18 * adapters), new MemoryModel(adapted, model).Fullest().States, 1.0);

        var cluster = PlannedCluster.Of(1, 1, 80 * GiB, Profile("h100"), null);
        var (whole, part) = (new StepModel(full, model, cluster).Predict(), new StepModel(adapted, model, cluster).Predict());
        Assert.InRange(part.Parts.Compute, 0.6 * whole.Parts.Compute, 0.8 * whole.Parts.Compute);
        Assert.Equal(adapters / model.ParameterCount, part.Parts.Optimizer / whole.Parts.Optimizer, 1e-9);
    }

    /// <summary>Where little else is in memory, an update is the peak: a layer's directions and the largest matrix on its way to orthogonality.</summary>
    [Fact]
    public void Counts_what_muon_needs_for_an_update()
    {
        var job = Job(Shape(8, 8, 512, 2, 300, inner: 1024), batch: 1, sequence: 16);
        job = job with { Training = job.Training with { Precision = Precision.Float32 }, Optimizer = job.Optimizer with { Name = "muon", Muon = new MuonSpec() } };
        var model = Model(job);
        double layer = (4.0 * 512 * 512) + (3 * 512 * 1024);

        var forecast = new MemoryModel(job, model).Fullest();

        Assert.Equal(4 * ((4.0 * model.ParameterCount) - (2 * layer)), forecast.States, 1.0);
        Assert.Equal(4 * (layer + (2 * 512) + (2.0 * 512 * 1024) + (2.0 * 512 * 512)), forecast.Buffers, 1.0);
    }

    private static LayoutPlan Choose(TrainingJobSpec job, PlannedCluster cluster) => LayoutPlanner.Choose(job, Model(job), cluster, _ => true, []);

    private static ModelConfig Model(TrainingJobSpec job) => ModelShapes.Of(job, []) ?? throw new InvalidOperationException("The job has a shape.");

    private static DeviceProfile Profile(string kind) => DeviceProfile.Find(kind) ?? throw new InvalidOperationException(kind);

    private static (ModelSpec Model, int Vocabulary) Shape(int heads, int keyValueHeads, int hidden, int layers, int vocabulary, int inner) => (
        new ModelSpec
        {
            HiddenSize = hidden,
            IntermediateSize = inner,
            NumHiddenLayers = layers,
            NumAttentionHeads = heads,
            NumKeyValueHeads = keyValueHeads,
            MaxPositionEmbeddings = 8192,
        },
        vocabulary);

    private static TrainingJobSpec Job((ModelSpec Model, int Vocabulary) shape, int batch, int sequence, int tensor = 1, int data = 1) => new()
    {
        Name = "planned",
        Model = shape.Model,
        Data = new DataSpec { Source = ["/data"], SequenceLength = sequence, Tokenizer = new TokenizerSpec.TrainBpe(shape.Vocabulary) },
        Parallelism = new ParallelismSpec { Tensor = tensor, Data = data },
        Training = new TrainingSpec { Steps = 100, GlobalBatchSize = batch },
    };
}
