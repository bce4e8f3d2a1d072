namespace Platform.Core.Jobs;

/// <summary>
/// Data-parallel widths at which a gang may run. Tensor and pipeline widths, the global batch and the micro-batch stay as
/// they are, so a width changes only how many micro-batches each rank takes: the samples of a step are the same.
/// </summary>
/// <param name="MinData">Narrowest width.</param>
/// <param name="MaxData">Widest width; null for <c>parallelism.data</c>.</param>
public sealed record ElasticSpec(int MinData, int? MaxData)
{
    /// <summary>
    /// Widths at which a job with its layout resolved may run, widest first. <c>parallelism.data</c> is always among them; of
    /// the others, those over which the global batch divides, into a multiple of the stages where they are interleaved.
    /// </summary>
    public static IReadOnlyList<int> WidthsOf(TrainingJobSpec job)
    {
        ArgumentNullException.ThrowIfNull(job);
        var (layout, batch) = (job.Parallelism, job.Training.GlobalBatchSize);
        if (job.Resources.Elastic is not { } elastic)
            return [layout.Data];
        var widest = Math.Min(elastic.MaxData ?? layout.Data, batch / layout.MicroBatchSize);
        var unit = layout.Schedule == PipelineSchedule.Interleaved ? layout.Pipeline : 1;
        return
        [
            .. Enumerable.Range(elastic.MinData, Math.Max(0, widest - elastic.MinData + 1)).Append(layout.Data).Distinct()
                .Where(width => width == layout.Data || batch % (width * layout.MicroBatchSize * unit) == 0).OrderDescending(),
        ];
    }
}
