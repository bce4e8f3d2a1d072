using Platform.Core.Jobs;
using Platform.Core.Models;
using Platform.Scheduling.Cycle;

namespace Platform.Scheduling.Planning;

/// <summary>What a layout costs.</summary>
/// <param name="Parameters">Weights of the model; 0 when its shape is not known.</param>
/// <param name="BytesPerRank">Bytes of the fullest rank: weights, gradients, optimizer state and activations.</param>
/// <param name="BubbleFraction">Share of a step in which a stage waits.</param>
/// <param name="CommunicationBytesPerStep">Bytes that the busiest rank sends in a step.</param>
/// <param name="TotalFlops">Floating-point operations of the whole job.</param>
/// <param name="Notes">What was assumed.</param>
public sealed record LayoutForecast(
    long Parameters, long BytesPerRank, double BubbleFraction, long CommunicationBytesPerStep, double TotalFlops, IReadOnlyList<string> Notes);

/// <summary>
/// Predicts what a layout costs and chooses one. Formulas: states per parameter after Megatron-LM's distributed optimizer
/// notes (bf16 with fp32 gradients and masters 18 bytes, all fp32 16); activations after Korthikanti et al. 2022
/// (arXiv 2205.05198, table 2); bubble (p − 1)/(v·m + p − 1); FLOPs per token 6N + 6·L·h·s (causal attention).
/// </summary>
public static class LayoutPlanner
{
    private const int BytesVocabulary = 257;

    /// <summary>Widths for a job that leaves them open: the least model parallelism that fits, then as much data parallelism as divides the batch.</summary>
    public static ParallelismSpec Choose(TrainingJobSpec job, ClusterSnapshot cluster)
    {
        var nodes = cluster.Nodes.Where(node => node.Devices.Any(device => device.Kind == job.Resources.Device)).ToList();
        int largestNode = nodes.Count == 0 ? 1 : nodes.Max(node => node.Devices.Count(device => device.Kind == job.Resources.Device));
        int devices = Math.Max(1, nodes.Sum(node => node.Devices.Count(device => device.Kind == job.Resources.Device)));
        long memory = nodes.Count == 0 ? long.MaxValue : nodes.SelectMany(node => node.Devices).Where(device => device.Kind == job.Resources.Device).Min(device => device.MemoryBytes);
        int batch = job.Training.GlobalBatchSize, layers = Math.Max(1, job.Model.NumHiddenLayers);
        ParallelismSpec? best = null;
        foreach (int tensor in Powers(largestNode).Where(tensor => Math.Max(1, job.Model.NumKeyValueHeads) % tensor == 0))
        {
            foreach (int pipeline in Powers(Math.Min(layers, devices / tensor)))
            {
                int data = Enumerable.Range(1, devices / (tensor * pipeline)).Last(width => batch % width == 0);
                int micro = Enumerable.Range(1, Math.Min(8, batch / data)).Last(size => batch / data % size == 0 && (pipeline == 1 || batch / data / size >= Math.Min(pipeline, batch / data)));
                var layout = new ParallelismSpec { Tensor = tensor, Pipeline = pipeline, Data = data, MicroBatchSize = micro };
                if (Predict(job with { Parallelism = layout }, null).BytesPerRank <= memory
                    && (best is null || tensor * pipeline < best.Tensor * best.Pipeline))
                {
                    best = layout;
                }
            }
        }

        return best ?? new ParallelismSpec { Data = Enumerable.Range(1, devices).Last(width => batch % width == 0) };
    }

    /// <summary>What the job's layout costs.</summary>
    /// <param name="job">A job with its widths resolved.</param>
    /// <param name="known">Shape of the model it continues from; null to read it from the job.</param>
    public static LayoutForecast Predict(TrainingJobSpec job, ModelConfig? known)
    {
        var notes = new List<string>();
        var model = known ?? ShapeOf(job, notes);
        if (model is null)
        {
            return new LayoutForecast(0, 0, BubbleOf(job), 0, 0, ["The model to continue from cannot be read here, so nothing that depends on its shape is predicted."]);
        }

        var layout = job.Parallelism;
        double t = layout.Tensor, p = layout.Pipeline, d = layout.Data, b = layout.MicroBatchSize;
        double s = job.Data.SequenceLength, h = model.HiddenSize, a = model.NumAttentionHeads, v = model.VocabSize;
        long parameters = model.ParameterCount;
        int microBatches = MicroBatches(job);

        double perRank = ParametersOfFullestStage(model, layout.Pipeline) / t;
        double stateBytes = job.Training.Precision switch
        {
            Precision.BFloat16 => layout.ZeroStage >= 1 ? 6 + (12 / d) : 18,
            Precision.Float32 => layout.ZeroStage >= 1 ? 8 + (8 / d) : 16,
            _ => layout.ZeroStage >= 1 ? 16 + (16 / d) : 32,
        };
        double width = job.Training.Precision switch { Precision.BFloat16 => 1, Precision.Float32 => 2, _ => 4 };
        double sharded = layout.SequenceParallel ? t : 1;
        double mlp = 4.0 * model.IntermediateSize / h;
        double perLayer = job.Training.ActivationCheckpointing switch
        {
            "full" => 2 * s * b * h / sharded,
            "selective" => s * b * h * ((10 / sharded) + ((8 + mlp) / t)),
            _ => s * b * h * ((10 / sharded) + ((8 + mlp + (5 * a * s / h)) / t)),
        };
        double inFlight = layout.Schedule == PipelineSchedule.GPipe ? microBatches : Math.Min(microBatches, p);
        double activations = width * ((perLayer * Math.Ceiling(model.NumHiddenLayers / p) * inFlight) + (4 * s * b * v / t));

        double element = job.Training.Precision switch { Precision.BFloat16 => 2, Precision.Float32 => 4, _ => 8 };
        double tensorBytes = element * 8 * b * s * h * (t - 1) / t * Math.Ceiling(model.NumHiddenLayers / p) * microBatches;
        double pipelineBytes = p > 1 ? element * 2 * b * s * h * microBatches : 0;
        double dataBytes = (job.Training.Precision == Precision.Float64 ? 8 : 4) * 2 * perRank * (d - 1) / d;

        double tokens = (double)job.Training.Steps * job.Training.GlobalBatchSize * s;
        double flops = tokens * ((6.0 * parameters) + (6 * model.NumHiddenLayers * h * s));
        return new LayoutForecast(
            parameters, (long)((stateBytes * perRank) + activations), BubbleOf(job), (long)(tensorBytes + pipelineBytes + dataBytes), flops, notes);
    }

    private static double BubbleOf(TrainingJobSpec job)
    {
        double p = job.Parallelism.Pipeline, m = MicroBatches(job) * Math.Max(1, job.Parallelism.VirtualStages);
        return (p - 1) / (m + p - 1);
    }

    private static int MicroBatches(TrainingJobSpec job) =>
        Math.Max(1, job.Training.GlobalBatchSize / (job.Parallelism.Data * job.Parallelism.MicroBatchSize));

    private static double ParametersOfFullestStage(ModelConfig model, int pipeline)
    {
        double embedding = (double)model.VocabSize * model.HiddenSize;
        double layers = model.ParameterCount - (embedding * (model.TieWordEmbeddings ? 1 : 2));
        double perStage = layers * Math.Ceiling((double)model.NumHiddenLayers / pipeline) / model.NumHiddenLayers;
        return pipeline == 1 ? model.ParameterCount : perStage + embedding;
    }

    private static ModelConfig? ShapeOf(TrainingJobSpec job, List<string> notes)
    {
        var shape = job.Model;
        if (shape.From is not null || shape.NumAttentionHeads == 0)
        {
            return null;
        }

        int vocabulary = job.Data.Tokenizer switch
        {
            TokenizerSpec.TrainBpe bpe => bpe.VocabSize,
            TokenizerSpec.Bytes => BytesVocabulary,
            _ => 32_000,
        };
        if (job.Data.Tokenizer is TokenizerSpec.Directory)
        {
            notes.Add($"The tokenizer's vocabulary is taken to be {vocabulary} tokens.");
        }

        return new ModelConfig
        {
            Architecture = shape.Architecture,
            VocabSize = vocabulary,
            HiddenSize = shape.HiddenSize,
            IntermediateSize = shape.IntermediateSize,
            NumHiddenLayers = shape.NumHiddenLayers,
            NumAttentionHeads = shape.NumAttentionHeads,
            NumKeyValueHeads = shape.NumKeyValueHeads,
            HeadDim = shape.HeadDim ?? (shape.HiddenSize / shape.NumAttentionHeads),
            MaxPositionEmbeddings = shape.MaxPositionEmbeddings,
            TieWordEmbeddings = shape.TieWordEmbeddings,
        };
    }

    private static IEnumerable<int> Powers(int limit)
    {
        for (int power = 1; power <= Math.Max(1, limit); power *= 2)
        {
            yield return power;
        }
    }
}
