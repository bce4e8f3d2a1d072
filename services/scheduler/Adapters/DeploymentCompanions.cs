using Platform.Core.Deployments;
using Platform.Core.Gangs;
using Platform.Core.Specs;
using Platform.Core.Validation;
using Platform.Formats;
using Platform.Formats.HuggingFace;
using Platform.Formats.Peft;
using Platform.Hosting.Artifacts;
using Platform.Scheduler.Core;
using Platform.Scheduler.Data;
using Platform.Scheduling.Deployments;

namespace Platform.Scheduler.Adapters;

/// <summary>Where the files lie of what a deployment runs beside its model.</summary>
/// <param name="Adapters">Adapters in the order of the settings.</param>
/// <param name="DraftDirectory">The model that guesses; null when none does.</param>
internal sealed record DeploymentCompanions(IReadOnlyList<AdapterSource> Adapters, string? DraftDirectory)
{
    private const int MostReasons = 3;

    /// <summary>The newest version of a model of the project, or null.</summary>
    public delegate Task<ModelRow?> FindModel(string model);

    /// <summary>Whether a deployment serves a registered model, adapts with it or guesses with it.</summary>
    public static bool Uses(DeploymentState deployment, ModelRow model)
    {
        string full = ResourceNames.Model(model.Project, model.Model);
        return (deployment.Spec.Engine.Lora?.Adapters ?? []).Select(adapter => adapter.Model)
            .Append(deployment.Spec.Model).Append(deployment.Spec.Engine.Speculative?.Model)
            .Any(reference => reference == model.Model || reference == full);
    }

    /// <summary>Finds the files and looks into them.</summary>
    /// <param name="find">Finds registered models.</param>
    /// <param name="artifacts">Where they lie.</param>
    /// <param name="project">Project of the deployment.</param>
    /// <param name="spec">Its settings.</param>
    /// <param name="model">Its model.</param>
    /// <param name="violations">Receives what keeps replicas from using them.</param>
    public static async Task<DeploymentCompanions> FindAsync(
        FindModel find, ArtifactOptions artifacts, string project, DeploymentSpec spec, ModelRow model, List<Violation> violations)
    {
        var adapters = new List<AdapterSource>();
        var options = spec.Engine.Lora ?? new LoraOptions();
        for (int i = 0; i < options.Adapters.Count; i++)
        {
            var (name, reference) = (options.Adapters[i].Name, options.Adapters[i].Model);
            string field = $"engine_config.lora.adapters[{i}].model";
            string directory = await LocateAsync(find, project, reference, field, violations) ?? reference;
            string? found = Path.IsPathRooted(directory) || directory != reference ? LoraAdapterDirectory.Find(artifacts.Resolve(directory)) : null;
            if (found is null)
            {
                violations.Add(new Violation(field, $"'{reference}' is neither a registered model of the project with an adapter nor the absolute path of an adapter as PEFT writes it."));
            }
            else
            {
                Inspect(field, violations, () => CheckAdapter(found, artifacts.Resolve(model.Directory), options.MaxLoraRank));
            }

            // Relative paths stay relative, so that they hold wherever the artifact store is mounted.
            adapters.Add(new AdapterSource(name, found is null || found == artifacts.Resolve(directory) ? directory : $"{directory.TrimEnd('/')}/{LoraAdapterDirectory.FolderInModel}"));
        }

        if (spec.Engine.Speculative?.Model is not { } draft)
        {
            return new DeploymentCompanions(adapters, null);
        }

        const string draftField = "engine_config.speculative_config.model";
        string? place = await LocateAsync(find, project, draft, draftField, violations);
        if (place is null && !Path.IsPathRooted(draft))
        {
            violations.Add(new Violation(draftField, $"'{draft}' is neither a registered model of the project nor the absolute path of a Hugging Face directory."));
        }
        else
        {
            Inspect(draftField, violations, () => CheckDraft(artifacts.Resolve(place ?? draft), artifacts.Resolve(model.Directory)));
        }

        return new DeploymentCompanions(adapters, place ?? draft);
    }

    private static async Task<string?> LocateAsync(FindModel find, string project, string reference, string field, List<Violation> violations)
    {
        if (ResourceNames.TryRead(reference, "models") is { } name)
        {
            if (name.Project != project)
            {
                violations.Add(new Violation(field, $"Expected a model of project {project}, found '{reference}'."));
            }

            reference = name.Id;
        }

        return ResourceId.IsValid(reference) ? (await find(reference))?.Directory : null;
    }

    private static IReadOnlyList<Violation> CheckAdapter(string directory, string model, int highestRank)
    {
        using var adapter = LoraAdapterDirectory.Open(directory);
        return ModelDirectories.ConfigOf(model) is { } config ? adapter.Validate(config, highestRank) : [];
    }

    private static IReadOnlyList<Violation> CheckDraft(string directory, string model)
    {
        using var draft = HuggingFaceModelDirectory.Open(directory);
        return ModelDirectories.ConfigOf(model) is { } config && config.VocabSize != draft.Config.Model.VocabSize
            ? [new Violation("vocab_size", $"it is {draft.Config.Model.VocabSize}, but the model's is {config.VocabSize}; the draft model needs the vocabulary of the model it guesses for.")]
            : draft.Validate();
    }

    private static void Inspect(string field, List<Violation> violations, Func<IReadOnlyList<Violation>> check)
    {
        try
        {
            var reasons = check();
            if (reasons.Count > 0)
            {
                violations.Add(new Violation(field, $"It cannot be used with this model. {string.Join(" ", reasons.Take(MostReasons))}"));
            }
        }
        catch (Exception exception) when (exception is ModelFormatException or IOException or UnauthorizedAccessException)
        {
            violations.Add(new Violation(field, $"It cannot be read: {exception.Message}"));
        }
    }
}
