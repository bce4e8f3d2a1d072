using Platform.Core.Jobs;
using Platform.Worker.Engine.Training;

namespace Platform.Worker.Engine.Planning;

/// <summary>The data-parallel width of an attempt: that of the ranks which were launched.</summary>
public static class ElasticWidth
{
    /// <summary>The job at the width that its number of ranks gives.</summary>
    /// <param name="spec">The job with its layout resolved.</param>
    /// <param name="ranks">Ranks of the gang.</param>
    /// <exception cref="PlanRefusedException">The job does not run on so many ranks.</exception>
    public static TrainingJobSpec Of(TrainingJobSpec spec, int ranks)
    {
        ArgumentNullException.ThrowIfNull(spec);
        var layout = spec.Parallelism;
        if (layout.Auto)
            throw new PlanRefusedException([new("parallelism.auto", "The layout must be chosen before the job starts.")]);
        if (layout.WorldSize == ranks)
            return spec;
        var replica = layout.Tensor * layout.Pipeline;
        if (spec.Resources.Elastic is null)
            throw new PlanRefusedException([new("parallelism", $"The layout has {layout.WorldSize} ranks and the gang {ranks}.")]);
        var widths = ElasticSpec.WidthsOf(spec);
        if (ranks % replica != 0 || !widths.Contains(ranks / replica))
            throw new PlanRefusedException([new(
                "resources.elastic",
                $"A gang of {ranks} ranks gives no data-parallel width of this job: tensor × pipeline is {replica}, and {string.Join(", ", widths)} are allowed.")]);
        return spec with { Parallelism = layout with { Data = ranks / replica } };
    }
}
