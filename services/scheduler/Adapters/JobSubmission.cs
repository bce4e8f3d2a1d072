using Microsoft.EntityFrameworkCore;
using Platform.Core.Gangs;
using Platform.Core.Jobs;
using Platform.Core.Validation;
using Platform.Hosting.Artifacts;
using Platform.Hosting.Errors;
using Platform.Scheduler.Core;
using Platform.Scheduler.Data;
using Platform.Scheduler.Grpc;
using Platform.Scheduling.Capacity;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Gangs;
using Platform.V1;
using PendingReason = Platform.Scheduling.Cycle.PendingReason;

namespace Platform.Scheduler.Adapters;

/// <summary>A job that was read, checked and resolved.</summary>
/// <param name="Written">As its author wrote it, defaults filled in.</param>
/// <param name="Workload">As the ranks get it: widths chosen, names of models replaced by directories.</param>
internal sealed record CheckedJob(TrainingJobSpec Written, TrainingJobSpec Workload)
{
    public GangShape Shape => GangShape.Of(Workload);
}

/// <summary>Reads and checks what someone wants to run.</summary>
internal sealed class JobSubmission(IDbContextFactory<SchedulerDbContext> factory, ControlView view, SchedulerOptions options, ArtifactOptions artifacts, JobPlanning planning)
{
    /// <summary>Reads a job that runs a program; throws everything that is wrong with it at once, or why no cluster could hold it.</summary>
    public CommandJobSpec CheckCommand(JobSpec spec, string requestId)
    {
        var violations = Requests.RequestId(requestId).ToList();
        if (CommandJobReader.Read(JobMessages.JsonOf(spec)) is not Validated<CommandJobSpec>.Valid { Value: var job })
        {
            var invalid = (Validated<CommandJobSpec>.Invalid)CommandJobReader.Read(JobMessages.JsonOf(spec));
            throw new InvalidRequestException([.. invalid.Violations.Select(violation => violation with { Field = $"spec.{violation.Field}" }), .. violations]);
        }

        if (violations.Count > 0)
        {
            throw new InvalidRequestException(violations);
        }

        RequireFeasible(GangShape.Of(job), "");
        return job;
    }

    /// <summary>The gang of a job that runs a program.</summary>
    public static GangState GangOf(string id, string project, CommandJobSpec job, string user, string? traceParent, DateTimeOffset now) => new()
    {
        Gang = $"jobs/{id}",
        Project = project,
        User = user,
        Kind = WorkloadKind.Command,
        Workload = CommandJobReader.ToJson(job).ToJsonString(),
        Shape = Named(GangShape.Of(job), id),
        Queue = job.Queue,
        Priority = job.Priority,
        ExpectedRuntime = job.Resources.ExpectedRuntimeSeconds is { } seconds ? TimeSpan.FromSeconds(seconds) : null,
        MaxRestarts = job.Retries.MaxRestarts,
        SubmittedAt = now,
        StageSince = now,
        StageReason = "Waits for devices.",
        TraceParent = traceParent,
    };

    /// <summary>Reads a job; throws everything that is wrong with it at once, or why no cluster could hold it.</summary>
    public async Task<CheckedJob> CheckAsync(string project, JobSpec? spec, string requestId, bool mustFit, CancellationToken cancellationToken)
    {
        var violations = Requests.RequestId(requestId).ToList();
        if (spec is null)
        {
            throw new InvalidRequestException([new Violation("spec", "The job is missing."), .. violations]);
        }

        var read = JobSpecReader.Read(JobMessages.JsonOf(spec));
        if (read is Validated<TrainingJobSpec>.Invalid invalid)
        {
            throw new InvalidRequestException([.. invalid.Violations.Select(violation => violation with { Field = $"spec.{violation.Field}" }), .. violations]);
        }

        var written = ((Validated<TrainingJobSpec>.Valid)read).Value;
        var workload = written;
        if (written.Model.From is { } from)
        {
            string? directory = await FindModelAsync(project, from, cancellationToken);
            workload = directory is null ? written : written with { Model = written.Model with { From = directory } };
            if (directory is null && !(Path.IsPathRooted(from) && (!options.CheckDataPaths || Directory.Exists(from))))
            {
                violations.Add(new Violation("spec.model.from", $"'{from}' is neither a registered model of the project nor the absolute path of an existing directory."));
            }
            else if (directory is not null || options.CheckDataPaths)
            {
                violations.AddRange(StartingModel.Check(workload, directory ?? from));
            }
        }

        if (options.CheckDataPaths)
        {
            violations.AddRange(MissingPaths(written));
        }

        if (violations.Count > 0)
        {
            throw new InvalidRequestException(violations);
        }

        if (workload.Parallelism.Auto)
        {
            workload = mustFit ? planning.Resolve(workload) : planning.Plan(workload, null, null)?.Job ?? workload;
        }

        if (mustFit)
        {
            RequireFeasible(GangShape.Of(workload), "");
            if (written.Output.Deploy is { } deploy)
            {
                RequireFeasible(GangShape.Of(deploy), "output.deploy: ");
            }
        }

        return new CheckedJob(written, workload);
    }

    /// <summary>Why the largest cluster that there could be, empty, does not hold the shape; null when it does.</summary>
    public PendingReason? WhyInfeasible(GangShape shape) => options.Capacity.Groups.Length == 0
        ? view.Now.Feasibility.Check(shape)
        : Feasibility.Check(CapacityForecast.Largest(view.Now.Cluster, options.Control.Capacity, shape.Cluster), shape);

    /// <summary>Throws when the largest cluster that there could be, empty, could not hold the shape.</summary>
    public void RequireFeasible(GangShape shape, string where)
    {
        if (WhyInfeasible(shape) is { } reason)
        {
            throw new FailedPreconditionException($"INFEASIBLE_{UpperSnake.Of(reason.Code)}", $"{where}{reason.Message}");
        }
    }

    /// <summary>The gang of a checked job.</summary>
    public static GangState GangOf(string id, string project, CheckedJob job, string user, string? traceParent, DateTimeOffset now) => new()
    {
        Gang = $"jobs/{id}",
        Project = project,
        User = user,
        Kind = WorkloadKind.Training,
        Workload = JobSpecWriter.ToJson(job.Workload).ToJsonString(),
        Shape = Named(job.Shape, id),
        Queue = job.Written.Queue,
        Priority = job.Written.Priority,
        ExpectedRuntime = job.Written.Resources.ExpectedRuntimeSeconds is { } seconds ? TimeSpan.FromSeconds(seconds) : null,
        MaxRestarts = job.Written.Retries.MaxRestarts,
        KeepCheckpoints = job.Written.Checkpoint.Keep,
        SubmittedAt = now,
        StageSince = now,
        StageReason = "Waits for devices.",
        TraceParent = traceParent,
    };

    /// <summary>A cluster of a gang's own goes by the gang's name.</summary>
    private static GangShape Named(GangShape shape, string id) => shape.Cluster is null ? shape : shape with { Cluster = $"jobs/{id}" };

    private async Task<string?> FindModelAsync(string project, string name, CancellationToken cancellationToken)
    {
        await using var db = await factory.CreateDbContextAsync(cancellationToken);
        var model = await db.Models.AsNoTracking().Where(row => row.Project == project && row.Model == name)
            .OrderByDescending(row => row.Version).FirstOrDefaultAsync(cancellationToken);
        return model is null ? null : artifacts.Resolve(model.Directory);
    }

    private static IEnumerable<Violation> MissingPaths(TrainingJobSpec spec)
    {
        for (int n = 0; n < spec.Data.Source.Count; n++)
        {
            if (Path.IsPathRooted(spec.Data.Source[n]) && !Exists(spec.Data.Source[n]))
            {
                yield return new Violation($"spec.data.source[{n}]", $"Nothing is found at {spec.Data.Source[n]} on the scheduler's machine.");
            }
        }

        if (spec.Data.Tokenizer is Platform.Core.Jobs.TokenizerSpec.Directory { Path: var path } && Path.IsPathRooted(path)
            && !File.Exists(path) && !File.Exists(Path.Combine(path, "tokenizer.json")))
        {
            yield return new Violation("spec.data.tokenizer", $"There is no tokenizer.json at {path}.");
        }
    }

    /// <summary>Whether a file or directory exists, or for a pattern the directory before its first wildcard.</summary>
    private static bool Exists(string path)
    {
        int wildcard = path.IndexOfAny(['*', '?', '[']);
        if (wildcard < 0)
        {
            return File.Exists(path) || Directory.Exists(path);
        }

        return Path.GetDirectoryName(path[..wildcard]) is { } directory && Directory.Exists(directory);
    }
}
