using Google.LongRunning;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Microsoft.EntityFrameworkCore;
using Platform.Core;
using Platform.Core.Specs;
using Platform.Core.Validation;
using Platform.Hosting.Artifacts;
using Platform.Hosting.Errors;
using Platform.Scheduler.Adapters;
using Platform.Scheduler.Core;
using Platform.Scheduler.Data;
using Platform.V1;

namespace Platform.Scheduler.Grpc;

/// <summary>Registered models.</summary>
internal sealed class ModelServiceImpl(
    ControlLoop loop, IDbContextFactory<SchedulerDbContext> factory, ModelRegistry registry, OperationRunner operations, ArtifactOptions artifacts) : ModelService.ModelServiceBase
{
    public override async Task<ListModelsResponse> ListModels(ListModelsRequest request, ServerCallContext context)
    {
        string project = Requests.Project(request.Parent);
        var (size, before) = Requests.Page(request.PageSize, request.PageToken);
        long limit = before ?? long.MaxValue;
        await using var db = await factory.CreateDbContextAsync(context.CancellationToken);
        var page = await db.Models.AsNoTracking()
            .Where(row => row.Project == project && row.Sequence < limit
                && !db.Models.Any(newer => newer.Project == row.Project && newer.Model == row.Model && newer.Version > row.Version))
            .OrderByDescending(row => row.Sequence).Take(size + 1).ToListAsync(context.CancellationToken);
        var response = new ListModelsResponse { NextPageToken = page.Count > size ? PageToken.Write(page[size - 1].Sequence) : "" };
        response.Models.AddRange(page.Take(size).Select(MessageOf));
        return response;
    }

    public override async Task<Model> GetModel(GetModelRequest request, ServerCallContext context) =>
        MessageOf(await FindAsync(request.Name, context.CancellationToken));

    public override async Task<Operation> ImportModel(ImportModelRequest request, ServerCallContext context)
    {
        string project = Requests.Project(request.Parent);
        var violations = Requests.RequestId(request.RequestId).ToList();
        if (!ResourceId.IsValid(request.ModelId))
        {
            violations.Add(new Violation("model_id", $"'{request.ModelId}' is not a model's name: {ResourceId.Rule}."));
        }

        if (!Path.IsPathRooted(request.Path) || !Directory.Exists(request.Path))
        {
            violations.Add(new Violation("path", $"Expected the absolute path of a directory on the scheduler's machine, found '{request.Path}'."));
        }

        if (violations.Count > 0)
        {
            throw new InvalidRequestException(violations);
        }

        long total = new DirectoryInfo(request.Path).EnumerateFiles().Sum(file => file.Length);
        return await operations.StartAsync(
            project, new ImportModelMetadata { BytesTotal = total }, cancellation => ImportAsync(project, request.ModelId, request.Path, cancellation), context.CancellationToken);
    }

    public override async Task<Operation> ExportModel(ExportModelRequest request, ServerCallContext context)
    {
        var model = await FindAsync(request.Name, context.CancellationToken);
        if (!Path.IsPathRooted(request.Path))
        {
            throw new InvalidRequestException("path", $"Expected an absolute path on the scheduler's machine, found '{request.Path}'.");
        }

        if (Directory.Exists(request.Path) && Directory.EnumerateFileSystemEntries(request.Path).Any())
        {
            throw new AlreadyExistsException(request.Name, $"{request.Path} is not empty; choose a new directory.");
        }

        return await operations.StartAsync(
            model.Project, new ImportModelMetadata { BytesTotal = model.SizeBytes }, cancellation => ExportAsync(model, request.Path, cancellation), context.CancellationToken);
    }

    public override async Task<Empty> DeleteModel(DeleteModelRequest request, ServerCallContext context)
    {
        var model = await FindAsync(request.Name, context.CancellationToken);
        await loop.RunAsync(
            control =>
            {
                if (control.Plane.Deployments.FirstOrDefault(deployment => deployment.Project == model.Project && DeploymentCompanions.Uses(deployment, model)) is { } user)
                {
                    throw new FailedPreconditionException("MODEL_IN_USE", $"Deployment {user.Id} serves {request.Name}; delete it first.");
                }

                control.Write((db, cancellation) => db.Models.Where(row => row.Project == model.Project && row.Model == model.Model).ExecuteDeleteAsync(cancellation));
                return true;
            },
            context.CancellationToken);

        // Imported files are the registry's own. A job's files stay with the job.
        string imported = artifacts.Resolve($"models/{model.Model}");
        if (model.SourceGang is null && model.Project == "default" && Directory.Exists(imported))
        {
            Directory.Delete(imported, recursive: true);
        }

        return new Empty();
    }

    private async Task<IMessage> ImportAsync(string project, string id, string source, CancellationToken cancellationToken)
    {
        var facts = ModelFiles.Check(source);
        string staged = $"models/.import-{Guid.NewGuid():N}";
        await ModelFiles.CopyAsync(source, artifacts.Resolve(staged), cancellationToken);
        var row = await loop.RunAsync(
            async control =>
            {
                var added = await ModelRegistry.AddVersionAsync(control, project, id, "", facts, cancellationToken);
                added.Directory = project == "default" ? ArtifactLayout.Model(id, added.Version) : $"projects/{project}/{ArtifactLayout.Model(id, added.Version)}";

                // Inside the loop, before the commit: a row never names files that are not there.
                string target = artifacts.Resolve(added.Directory);
                if (Directory.Exists(target))
                {
                    // Left by an import whose commit failed.
                    Directory.Delete(target, recursive: true);
                }

                Directory.CreateDirectory(Path.GetDirectoryName(target)!);
                Directory.Move(artifacts.Resolve(staged), target);
                return added;
            },
            cancellationToken);
        return MessageOf(row);
    }

    private async Task<IMessage> ExportAsync(ModelRow model, string target, CancellationToken cancellationToken)
    {
        if (Directory.Exists(target))
        {
            Directory.Delete(target);
        }

        return new ExportModelResponse { Path = target, Bytes = await ModelFiles.CopyAsync(artifacts.Resolve(model.Directory), target, cancellationToken) };
    }

    private async Task<ModelRow> FindAsync(string name, CancellationToken cancellationToken)
    {
        var (project, id) = Requests.Name(name, "models");
        return await registry.FindAsync(project, id, cancellationToken) ?? throw new NotFoundException(name);
    }

    private Model MessageOf(ModelRow row)
    {
        var model = new Model
        {
            Name = ResourceNames.Model(row.Project, row.Model),
            Uid = row.Uid,
            Version = row.Version,
            Path = artifacts.Resolve(row.Directory),
            Architecture = row.Architecture,
            Parameters = row.Parameters,
            SizeBytes = row.SizeBytes,
            ContextLength = row.ContextLength,
            CreateTime = Timestamp.FromDateTimeOffset(DateTimeOffset.FromUnixTimeMilliseconds(row.CreatedUnixMs)),
            SourceJob = row.SourceGang is { } gang ? ResourceNames.Job(row.Project, gang["jobs/".Length..]) : "",
        };
        if (row.FinalLoss is { } loss)
        {
            model.FinalLoss = loss;
        }

        return model;
    }
}
