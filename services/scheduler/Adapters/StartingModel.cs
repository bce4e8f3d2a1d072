using Platform.Core.Jobs;
using Platform.Core.Validation;
using Platform.Formats;
using Platform.Formats.HuggingFace;

namespace Platform.Scheduler.Adapters;

/// <summary>Looks, before a job is accepted, into the model that it continues from.</summary>
internal static class StartingModel
{
    /// <summary>Everything that keeps the job from starting at the model; empty when nothing does.</summary>
    /// <param name="job">The job.</param>
    /// <param name="directory">The model's Hugging Face directory.</param>
    public static IReadOnlyList<Violation> Check(TrainingJobSpec job, string directory)
    {
        try
        {
            using var model = HuggingFaceModelDirectory.Open(directory);

            // A tokenizer is missed only where the job does not bring one.
            var wrong = model.Validate()
                .Where(violation => violation.Field != "tokenizer.json" || job.Data.Tokenizer is TokenizerSpec.OfModel)
                .Select(violation => $"{violation.Field}: {violation.Message}").Take(5).ToList();
            return wrong.Count > 0
                ? [new Violation("spec.model.from", $"{directory} cannot be continued from. {string.Join(" ", wrong)}")]
                : [.. StartingPointRules.Check(job, model.Config.Model).Select(violation => violation with { Field = $"spec.{violation.Field}" })];
        }
        catch (Exception exception) when (exception is ModelFormatException or IOException or UnauthorizedAccessException)
        {
            return [new Violation("spec.model.from", $"{directory} cannot be continued from: {exception.Message}")];
        }
    }
}
