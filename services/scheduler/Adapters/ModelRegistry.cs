using System.Text.Json.Nodes;
using Microsoft.EntityFrameworkCore;
using Platform.Core.Gangs;
using Platform.Core.Jobs;
using Platform.Core.Specs;
using Platform.Core.Validation;
using Platform.Formats;
using Platform.Hosting.Artifacts;
using Platform.Hosting.Errors;
using Platform.Internal.V1;
using Platform.Scheduler.Core;
using Platform.Scheduler.Data;
using Platform.Scheduling.Deployments;
using Platform.Scheduling.Gangs;

namespace Platform.Scheduler.Adapters;

/// <summary>Registers models: what training finished and what was imported.</summary>
internal sealed class ModelRegistry(ControlLoop loop, IDbContextFactory<SchedulerDbContext> factory, ArtifactOptions artifacts)
{
    /// <summary>Registers the model of a job's attempt, once however often it is asked, and deploys it if the job says so.</summary>
    public async Task<RegisterModelResponse> RegisterAsync(RegisterModelRequest request, CancellationToken cancellationToken)
    {
        if (!ResourceId.IsValid(request.ModelId))
        {
            throw new InvalidRequestException("model_id", $"'{request.ModelId}' is not a model's name: {ResourceId.Rule}.");
        }

        ModelFacts facts;
        try
        {
            facts = ModelDirectories.Inspect(artifacts.Resolve(request.Directory));
        }
        catch (Exception exception) when (exception is ModelFormatException or IOException or ArgumentException)
        {
            throw new FailedPreconditionException("MODEL_UNREADABLE", $"The model in {request.Directory} cannot be read: {exception.Message}");
        }

        return await loop.RunAsync(control => RegisterAsync(control, request, facts, cancellationToken), cancellationToken);
    }

    /// <summary>Adds a version of a model to the batch.</summary>
    public static async Task<ModelRow> AddVersionAsync(
        ControlContext control, string project, string model, string directory, ModelFacts facts, CancellationToken cancellationToken)
    {
        // Several versions of one name in one batch: the database does not show the earlier ones yet.
        string key = $"model {project}/{model}";
        int stored = await control.Db.Models.Where(row => row.Project == project && row.Model == model).MaxAsync(row => (int?)row.Version, cancellationToken) ?? 0;
        int version = Math.Max(stored, control.Created.TryGetValue(key, out string? added) ? int.Parse(added) : 0) + 1;
        control.Created[key] = version.ToString();
        var created = new ModelRow
        {
            Project = project,
            Model = model,
            Version = version,
            Uid = Guid.NewGuid().ToString(),
            Sequence = control.NextSequence(),
            Directory = directory,
            Architecture = facts.Architecture,
            Parameters = facts.Parameters,
            SizeBytes = facts.SizeBytes,
            ContextLength = facts.ContextLength,
            CreatedUnixMs = control.Now.ToUnixTimeMilliseconds(),
        };
        control.Add(created);
        return created;
    }

    /// <summary>The newest version of a model, or null.</summary>
    public async Task<ModelRow?> FindAsync(string project, string model, CancellationToken cancellationToken)
    {
        await using var db = await factory.CreateDbContextAsync(cancellationToken);
        return await db.Models.AsNoTracking().Where(row => row.Project == project && row.Model == model)
            .OrderByDescending(row => row.Version).FirstOrDefaultAsync(cancellationToken);
    }

    private async Task<RegisterModelResponse> RegisterAsync(
        ControlContext control, RegisterModelRequest request, ModelFacts facts, CancellationToken cancellationToken)
    {
        var before = await control.Db.Models.AsNoTracking()
            .FirstOrDefaultAsync(row => row.SourceGang == request.Gang && row.SourceAttempt == request.Attempt, cancellationToken);
        if (before is not null)
        {
            return Answer(before);
        }

        var gang = control.Plane.Find(request.Gang);
        if (gang is not { Kind: WorkloadKind.Training, Stage: GangStage.Starting or GangStage.Running } || gang.Attempt?.Number != request.Attempt)
        {
            throw new FailedPreconditionException("STALE_ATTEMPT", $"Attempt {request.Attempt} of {request.Gang} is over.");
        }

        var row = await AddVersionAsync(control, gang.Project, request.ModelId, request.Directory, facts, cancellationToken);
        row.SourceGang = request.Gang;
        row.SourceAttempt = request.Attempt;
        row.FinalLoss = request.FinalLoss;
        string job = request.Gang["jobs/".Length..];
        control.Write((db, cancellation) => db.Jobs.Where(known => known.Id == job)
            .ExecuteUpdateAsync(set => set.SetProperty(known => known.Model, request.ModelId), cancellation));
        control.Touch(request.Gang);
        await DeployAsync(control, gang, row, cancellationToken);
        return Answer(row);
    }

    private async Task DeployAsync(ControlContext control, GangState gang, ModelRow model, CancellationToken cancellationToken)
    {
        if (JobSpecReader.Read(JsonNode.Parse(gang.Workload)) is not Validated<TrainingJobSpec>.Valid { Value.Output.Deploy: { } deploy })
        {
            return;
        }

        var spec = deploy with { Model = model.Model };
        // What is wrong with them, the replicas will say.
        var companions = await DeploymentCompanions.FindAsync(
            name => FindAsync(gang.Project, name, cancellationToken), artifacts, gang.Project, spec, model, []);
        string key = $"{gang.Project}/{model.Model}";
        control.Plane.PutDeployment(control.Plane.FindDeployment(key) is { Deleting: false } known
            ? known.At(model.Version, model.Directory, model.ContextLength) with { Spec = spec, Adapters = companions.Adapters, DraftDirectory = companions.DraftDirectory }
            : NewDeployment(gang.Project, model.Model, spec, model, companions, gang.User, gang.TraceParent, control.Now));
    }

    /// <summary>A deployment of a model at its beginning.</summary>
    public static DeploymentState NewDeployment(
        string project, string id, Platform.Core.Deployments.DeploymentSpec spec, ModelRow model, DeploymentCompanions companions, string user,
        string? traceParent, DateTimeOffset now) => new()
        {
            Adapters = companions.Adapters,
            DraftDirectory = companions.DraftDirectory,
            Id = id,
            Project = project,
            User = user,
            Uid = Guid.NewGuid().ToString("N"),
            Spec = spec,
            ModelVersion = model.Version,
            ModelDirectory = model.Directory,
            ContextLength = model.ContextLength,
            DesiredReplicas = Math.Max(spec.Deployment.InitialReplicas, spec.Deployment.MinReplicas),
            CreatedAt = now,
            TraceParent = traceParent,
        };

    private static RegisterModelResponse Answer(ModelRow row) => new() { Model = ResourceNames.Model(row.Project, row.Model), Version = row.Version };
}
