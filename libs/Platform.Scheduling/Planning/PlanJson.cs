using System.Text.Json.Nodes;
using Platform.Core.Gangs;
using Platform.Core.Jobs;

namespace Platform.Scheduling.Planning;

/// <summary>
/// Plans in the one form that the API and the command line share: <c>platform.v1.PlanJobResponse</c> and
/// <c>platform.v1.RunFigures</c> as proto3 JSON with proto field names.
/// </summary>
public static class PlanJson
{
    /// <summary>The answer to a request for a plan.</summary>
    public static JsonObject Response(LayoutPlan plan)
    {
        ArgumentNullException.ThrowIfNull(plan);
        var step = plan.Chosen.Step;
        var json = new JsonObject
        {
            ["layout"] = Layout(plan.Chosen.Layout),
            ["parameters"] = plan.Model.ParameterCount,
            ["bytes_per_rank"] = plan.Chosen.Memory.Total,
            ["bubble_fraction"] = step.BubbleFraction,
            ["communication_bytes_per_step"] = step.CommunicationBytes,
            ["step_seconds"] = step.Seconds,
            ["model_flops_utilization"] = step.ModelFlopsUtilization,
            ["total_flops"] = plan.TotalFlops,
            ["memory"] = Memory(plan.Chosen.Memory),
            ["activation_checkpointing"] = plan.Chosen.Recomputation,
            ["devices"] = plan.Chosen.Layout.WorldSize,
            ["device_kind"] = plan.Cluster.Profile.Kind,
            ["tokens_per_second"] = plan.TokensPerStep / step.Seconds,
            ["total_seconds"] = plan.TotalSeconds,
            ["parts"] = Parts(step.Parts),
            ["infeasible"] = plan.Infeasible,
            ["reason"] = plan.Reason,
            ["alternatives"] = new JsonArray([.. plan.Alternatives.Select(Layout)]),
            ["rejected"] = new JsonArray([.. plan.Rejected.Select(Layout)]),
            ["usable_bytes_per_device"] = plan.Cluster.UsableBytes,
            ["notes"] = new JsonArray([.. plan.Notes.Select(note => JsonValue.Create(note))]),
        };
        if (plan.Cost is { } cost)
        {
            json["cost"] = cost;
        }

        return json;
    }

    /// <summary>The figures of a plan, to be kept beside those that will be measured.</summary>
    public static JsonObject Figures(LayoutPlan plan)
    {
        ArgumentNullException.ThrowIfNull(plan);
        var step = plan.Chosen.Step;
        var json = new JsonObject
        {
            ["bytes_per_rank"] = plan.Chosen.Memory.Total,
            ["memory"] = Memory(plan.Chosen.Memory),
            ["bubble_fraction"] = step.BubbleFraction,
            ["communication_bytes_per_step"] = step.CommunicationBytes,
            ["step_seconds"] = step.Seconds,
            ["tokens_per_second"] = plan.TokensPerStep / step.Seconds,
            ["model_flops_utilization"] = step.ModelFlopsUtilization,
            ["peak_flops"] = plan.Cluster.Flops(plan.Job.Training.Precision, plan.Chosen.Layout.WorldSize),
            ["parts"] = Parts(step.Parts),
            ["total_seconds"] = plan.TotalSeconds,
            ["activation_checkpointing"] = plan.Chosen.Recomputation,
            ["steps"] = plan.Job.Training.Steps,
        };
        if (plan.Cost is { } cost)
        {
            json["cost"] = cost;
        }

        return json;
    }

    private static JsonObject Layout(PlannedLayout planned) => new()
    {
        ["layout"] = Layout(planned.Layout),
        ["activation_checkpointing"] = planned.Recomputation,
        ["bytes_per_rank"] = planned.Memory.Total,
        ["memory"] = Memory(planned.Memory),
        ["bubble_fraction"] = planned.Step.BubbleFraction,
        ["communication_bytes_per_step"] = planned.Step.CommunicationBytes,
        ["step_seconds"] = planned.Step.Seconds,
        ["model_flops_utilization"] = planned.Step.ModelFlopsUtilization,
        ["reason"] = planned.Reason,
    };

    private static JsonObject Layout(ParallelismSpec layout) => new()
    {
        ["tensor"] = layout.Tensor,
        ["pipeline"] = layout.Pipeline,
        ["data"] = layout.Data,
        ["micro_batch_size"] = layout.MicroBatchSize,
        ["schedule"] = layout.Schedule switch { PipelineSchedule.GPipe => "gpipe", PipelineSchedule.Interleaved => "interleaved", _ => "1f1b" },
        ["virtual_stages"] = layout.VirtualStages,
        ["sequence_parallel"] = layout.SequenceParallel,
        ["zero_stage"] = layout.ZeroStage,
    };

    private static JsonObject Memory(MemoryForecast memory) => new()
    {
        ["states"] = memory.States,
        ["activations"] = memory.Activations,
        ["logits"] = memory.Logits,
        ["buffers"] = memory.Buffers,
    };

    private static JsonObject Parts(StepParts parts) => new()
    {
        ["compute"] = parts.Compute,
        ["communication"] = parts.Communication,
        ["bubble"] = parts.Bubble,
        ["data"] = parts.Data,
        ["optimizer"] = parts.Optimizer,
        ["checkpoint"] = parts.Checkpoint,
        ["other"] = parts.Other,
    };
}
