using Platform.Core.Jobs;
using Platform.Core.Validation;
using Platform.Worker.Engine.Planning;

namespace Platform.Benchmarks.Memory;

/// <summary>A layout whose memory is predicted and measured.</summary>
/// <param name="Name">What is particular about it.</param>
/// <param name="Job">The job.</param>
/// <param name="Vocabulary">Tokens of its vocabulary.</param>
internal sealed record MeasuredLayout(string Name, TrainingJobSpec Job, int Vocabulary)
{
    /// <summary>Each takes a rank at least 1 GiB; the first two are those of a short run.</summary>
    public static IReadOnlyList<MeasuredLayout> All { get; } =
    [
        Of("one rank", new ModelSpec { HiddenSize = 1024, IntermediateSize = 2816, NumHiddenLayers = 4, NumAttentionHeads = 16, NumKeyValueHeads = 16 }, new ParallelismSpec { MicroBatchSize = 2 }, 2),
        Of("tensor 2", Wide, new ParallelismSpec { Tensor = 2, MicroBatchSize = 2 }, 2),
        Of("pipeline 2, selective", Wide, new ParallelismSpec { Pipeline = 2, MicroBatchSize = 1 }, 4, "selective"),
        Of("data 2, ZeRO-1, fp32, full", Wide with { NumHiddenLayers = 3 }, new ParallelismSpec { Data = 2, MicroBatchSize = 1, ZeroStage = 1 }, 2, "full", Precision.Float32),
        Of("data 2, ZeRO-3", Wide with { NumHiddenLayers = 6 }, new ParallelismSpec { Data = 2, MicroBatchSize = 1, ZeroStage = 3 }, 2),
        Of("tensor 2 × pipeline 2, GPipe", Wide with { NumHiddenLayers = 8 }, new ParallelismSpec { Tensor = 2, Pipeline = 2, MicroBatchSize = 1, Schedule = PipelineSchedule.GPipe }, 4),
    ];

    private static ModelSpec Wide => new() { HiddenSize = 1536, IntermediateSize = 4096, NumHiddenLayers = 4, NumAttentionHeads = 12, NumKeyValueHeads = 4 };

    /// <summary>The plan that the ranks run.</summary>
    public TrainingPlan Plan() => TrainingPlan.Resolve(Job, Vocabulary, null) switch
    {
        Validated<TrainingPlan>.Valid valid => valid.Value,
        Validated<TrainingPlan>.Invalid invalid => throw new InvalidOperationException(string.Join(" ", invalid.Violations)),
        _ => throw new InvalidOperationException("A plan is valid or not."),
    };

    private static MeasuredLayout Of(
        string name, ModelSpec model, ParallelismSpec layout, int batch, string recomputation = "none", Precision precision = Precision.BFloat16) => new(
        name,
        new TrainingJobSpec
        {
            Name = "memory",
            Model = model with { MaxPositionEmbeddings = 1024 },
            Data = new DataSpec { Source = ["generated"], SequenceLength = 512 },
            Parallelism = layout,
            Training = new TrainingSpec { Steps = 1000, GlobalBatchSize = batch, Precision = precision, ActivationCheckpointing = recomputation },
        },
        8192);
}
