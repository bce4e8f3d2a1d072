using Platform.Core.Jobs;
using Platform.Core.Models;

namespace Platform.Scheduling.Planning;

/// <summary>How many layers each stage has.</summary>
internal static class StageSplit
{
    /// <summary>Layers of a stage: if they do not divide, the first stages have one more.</summary>
    public static int Layers(TrainingJobSpec job, ModelConfig model, int stage)
    {
        var (each, more) = (model.NumHiddenLayers / job.Parallelism.Pipeline, model.NumHiddenLayers % job.Parallelism.Pipeline);
        return each + (stage < more ? 1 : 0);
    }
}
