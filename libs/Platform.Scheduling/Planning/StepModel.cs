using Platform.Core.Gangs;
using Platform.Core.Jobs;
using Platform.Core.Models;

namespace Platform.Scheduling.Planning;

/// <summary>What a step takes.</summary>
/// <param name="Seconds">Wall time.</param>
/// <param name="Parts">Where it goes, on the slowest stage.</param>
/// <param name="BubbleFraction">Share of the step in which a stage waits for others: <c>(p−1)/(v·m + p−1)</c>.</param>
/// <param name="CommunicationBytes">Bytes that the busiest rank sends.</param>
/// <param name="ModelFlopsUtilization">Model FLOPs over what the devices could do.</param>
public sealed record StepForecast(double Seconds, StepParts Parts, double BubbleFraction, long CommunicationBytes, double ModelFlopsUtilization);

/// <summary>
/// Predicts the time of a step: matrix products at a share of the device's rate, collectives at the links' rates, and the
/// pipeline's bubble. Volumes: tensor groups 4 all-reduces of <c>b·s·h</c> per layer and micro-batch, two more when layers
/// are recomputed; stages <c>b·s·h</c> per boundary and direction; data groups <c>2(d−1)/d</c> of the gradients, ZeRO-3 also
/// gathers weights twice per micro-batch (Narayanan et al. 2021, section 3; Rajbhandari et al. 2020, section 7).
/// </summary>
/// <param name="job">The job, its layout resolved.</param>
/// <param name="model">Shape of its model.</param>
/// <param name="cluster">Where it runs.</param>
public sealed class StepModel(TrainingJobSpec job, ModelConfig model, PlannedCluster cluster)
{
    private readonly ParallelismSpec _layout = job.Parallelism;
    private readonly MemoryModel _memory = new(job, model);
    private readonly double _tokens = (double)job.Parallelism.MicroBatchSize * job.Data.SequenceLength;
    private readonly double _element = job.Training.Precision switch { Precision.BFloat16 => 2, Precision.Float32 => 4, _ => 8 };
    private readonly double _master = job.Training.Precision == Precision.Float64 ? 8 : 4;

    private double Rate => cluster.Flops(job.Training.Precision, _layout.WorldSize);

    private double Latency => cluster.Profile.CollectiveSeconds * cluster.Crowding(job.Training.Precision, _layout.WorldSize);

    /// <summary>Micro-batches per rank and step.</summary>
    public static int MicroBatches(TrainingJobSpec job)
    {
        ArgumentNullException.ThrowIfNull(job);
        return Math.Max(1, job.Training.GlobalBatchSize / (job.Parallelism.Data * job.Parallelism.MicroBatchSize));
    }

    /// <summary>
    /// Model FLOPs per token: 6 per weight, and <c>6·layers·width·sequence</c> of causal attention. Recomputation does not count.
    /// </summary>
    public static double FlopsPerToken(ModelConfig model, int sequenceLength)
    {
        ArgumentNullException.ThrowIfNull(model);
        return (6.0 * model.ParameterCount) + (6.0 * model.NumHiddenLayers * model.NumAttentionHeads * model.HeadDim * sequenceLength);
    }

    /// <summary>The step.</summary>
    public StepForecast Predict()
    {
        int microBatches = MicroBatches(job);
        double stages = _layout.Pipeline, turns = (double)microBatches * _layout.VirtualStages;
        var slowest = Enumerable.Range(0, _layout.Pipeline).Select(Pass).MaxBy(pass => pass.Compute + pass.Exposed);
        double pass = slowest.Compute + slowest.Exposed;
        double busy = pass * microBatches;
        double bubble = pass * microBatches * (stages - 1) / turns;
        var transfers = Transfers(microBatches);
        double weights = Enumerable.Range(0, _layout.Pipeline).Max(_memory.Trained);
        var (reduceBytes, reduceSeconds) = Reduction(weights, microBatches, slowest.Compute);
        double optimizer = Optimizer(weights);
        double agreement = _layout.WorldSize > 1 ? Latency : 0;
        double communication = (slowest.Exposed * microBatches) + transfers.Seconds + reduceSeconds + agreement;
        double seconds = busy + bubble + transfers.Seconds + reduceSeconds + agreement + optimizer;
        double tokens = (double)job.Training.GlobalBatchSize * job.Data.SequenceLength;
        double achieved = tokens * FlopsPerToken(model, job.Data.SequenceLength) / (seconds * _layout.WorldSize);
        return new StepForecast(
            seconds,
            new StepParts(slowest.Compute * microBatches, communication, bubble, 0, optimizer, 0, 0),
            (stages - 1) / (turns + stages - 1),
            (long)((slowest.Bytes * microBatches) + transfers.Bytes + reduceBytes),
            achieved / Rate);
    }

    /// <summary>One micro-batch forward and backward through a stage.</summary>
    private (double Compute, double Exposed, double Bytes) Pass(int stage)
    {
        double layers = _memory.Layers(stage), width = (double)model.NumAttentionHeads * model.HeadDim / _layout.Tensor;
        double core = 2.0 * job.Data.SequenceLength * width;
        double head = stage == _layout.Pipeline - 1 ? 2.0 * model.HiddenSize * model.VocabSize / _layout.Tensor : 0;
        double forward = (layers * ((2 * _memory.LayerWeights) + core)) + head;

        // Frozen weights have no gradients of their own, which is a third of their products; adapters have all three.
        double spared = job.Lora is null ? 0 : (layers * 2 * (_memory.LayerWeights - (3 * _memory.LayerAdapters))) + head;
        double again = job.Training.ActivationCheckpointing switch
        {
            "full" => layers * ((2 * _memory.LayerWeights) + core),
            "selective" => layers * core,
            _ => 0,
        };
        double narrow = model.HiddenSize / Math.Sqrt(_layout.Tensor);
        double rate = Rate * cluster.Profile.Efficiency * _tokens / (_tokens + cluster.Profile.HalfRateTokens) * narrow / (narrow + cluster.Profile.HalfRateWidth);
        double reductions = layers * (job.Training.ActivationCheckpointing == "full" ? 6 : 4);
        double bytes = reductions * 2 * _tokens * model.HiddenSize * _element * (_layout.Tensor - 1) / _layout.Tensor;

        // The embedding's sum, and the loss's largest, sums and gradient.
        double ends = (stage == 0 ? 1 : 0) + (stage == _layout.Pipeline - 1 ? 3 : 0);
        double waits = _layout.Tensor > 1 ? (reductions + ends) * Latency : 0;
        return (_tokens * ((3 * forward) - spared + again) / rate, (bytes / Link(_layout.Tensor)) + waits, bytes);
    }

    private (double Bytes, double Seconds) Transfers(int microBatches)
    {
        if (_layout.Pipeline == 1)
        {
            return (0, 0);
        }

        // A stage in the middle sends activations one way and gradients the other, an end sends one of them; what is sent is
        // hidden where devices can.
        int ways = _layout.Pipeline > 2 || _layout.VirtualStages > 1 ? 2 : 1;
        double each = _tokens * model.HiddenSize * _element / (_layout.SequenceParallel ? _layout.Tensor : 1) * _layout.VirtualStages;
        double bytes = ways * each * microBatches;
        double share = cluster.Profile.OverlapsCommunication ? (_layout.Pipeline - 1.0) / microBatches : 1;
        return (bytes, (Math.Min(1, share) * bytes / Link(_layout.Tensor * _layout.Data * 2)) + (2 * microBatches * _layout.VirtualStages * Latency));
    }

    private (double Bytes, double Seconds) Reduction(double weights, int microBatches, double pass)
    {
        double data = _layout.Data;
        if (_layout.Data == 1)
        {
            return (0, 0);
        }

        double share = (data - 1) / data;
        double bytes = _layout.ZeroStage switch
        {
            0 => 2 * share * weights * _master,
            1 => share * weights * (_master + _element),
            _ => share * weights * (_master + (2 * _element * microBatches)),
        };
        double units = _memory.Layers(0) + 2;
        double seconds = (bytes / Link(_layout.Tensor * _layout.Data)) + (units * (_layout.ZeroStage >= 2 ? microBatches : 1) * Latency);

        // Gradients of the last micro-batch travel while its backward, two thirds of the pass, goes on.
        double hidden = cluster.Profile.OverlapsCommunication ? pass * 2 / 3 * (_layout.ZeroStage >= 2 ? microBatches : 1) : 0;
        return (bytes, Math.Max(0, seconds - hidden));
    }

    private double Optimizer(double weights)
    {
        // Gradient, master and two moments are read, three of them written, and the weight written in its own type.
        double mine = _layout.ZeroStage >= 1 ? weights / _layout.Data : weights;
        return mine * ((7 * _master) + _element) / cluster.Profile.MemoryBandwidth;
    }

    private double Link(int groupDevices) =>
        groupDevices <= cluster.DevicesPerNode ? cluster.Profile.NodeBandwidth : cluster.Profile.ClusterBandwidth;
}
