using System.Globalization;
using System.Text.Json.Nodes;
using Microsoft.EntityFrameworkCore;
using Platform.Core.Gangs;
using Platform.Core.Jobs;
using Platform.Core.Validation;
using Platform.Hosting.Errors;
using Platform.Scheduling.Cycle;
using Platform.Scheduling.Gangs;
using Platform.Scheduling.Planning;
using Platform.V1;

namespace Platform.Scheduler.Adapters;

/// <summary>Changes to a job that waits or runs, all that are asked for or none.</summary>
internal sealed class JobUpdates(JobSubmission submission, JobPlanning planning)
{
    /// <summary>Works out what a request changes, and changes it. Runs in the control loop, so two updates never miss each other.</summary>
    /// <exception cref="InvalidRequestException">Something cannot be as the request wants it.</exception>
    /// <exception cref="FailedPreconditionException">The job is over, or no cluster could hold it then.</exception>
    public async Task<bool> ApplyAsync(ControlContext control, string project, string id, UpdateJobRequest request, CancellationToken cancellationToken)
    {
        string name = $"jobs/{id}";
        if (control.Plane.Find(name) is not { IsTerminal: false } gang || gang is { Stage: GangStage.Stopping, Attempt.Outcome: StopOutcome.Succeed or StopOutcome.Cancel or StopOutcome.Fail })
        {
            throw Over(request.Name);
        }

        if (request.HasSteps || request.HasLr || request.HasData)
        {
            var revision = await ReviseAsync(control, project, id, gang, request, cancellationToken);
            if (revision is { } changed)
            {
                control.Plane.Apply(name, new GangEvent.Revised(changed.Revision, changed.What), control.Now);
            }
        }

        if (request.HasPriority)
        {
            control.Plane.SetPriority(name, request.Priority);
        }

        return true;
    }

    private static FailedPreconditionException Over(string name) => new("JOB_ENDED", $"{name} cannot be changed: it is over.");

    private async Task<(GangRevision Revision, string What)?> ReviseAsync(
        ControlContext control, string project, string id, GangState gang, UpdateJobRequest request, CancellationToken cancellationToken)
    {
        if (gang.Kind != WorkloadKind.Training)
        {
            throw new InvalidRequestException(request.HasSteps ? "steps" : request.HasLr ? "lr" : "data", "Only a TrainingJob has steps, a learning rate and a width; of this job the priority can be changed.");
        }

        var before = Valid(gang.Revision?.Workload ?? gang.Workload);
        int done = await control.Db.Progress.AsNoTracking().Where(row => row.Job == id).Select(row => (int?)row.Step).SingleOrDefaultAsync(cancellationToken) ?? 0;
        done = Math.Max(done, gang.LatestCheckpoint?.Step ?? 0);
        if (request.HasSteps && request.Steps <= done)
        {
            throw new InvalidRequestException("steps", $"{done} steps are done; expected more than that, found {request.Steps}. To end the job now, cancel it: its checkpoints stay.");
        }

        var after = Changed(before, request);
        var what = WhatChanged(before, after).ToList();
        if (what.Count == 0)
        {
            return null;
        }

        string spec = await control.Db.Jobs.AsNoTracking().Where(row => row.Id == id && row.Project == project).Select(row => row.Spec).SingleAsync(cancellationToken);
        var written = Valid(spec);
        var shown = written with
        {
            Training = written.Training with { Steps = after.Training.Steps },
            Optimizer = written.Optimizer with { Lr = after.Optimizer.Lr },
            Parallelism = request.HasData ? after.Parallelism : written.Parallelism,
            Resources = written.Resources with { Elastic = after.Resources.Elastic },
        };
        Require(after);
        Require(shown);
        var shape = GangShape.Of(after);
        submission.RequireFeasible(shape, "");
        string json = JobSpecWriter.ToJson(shown).ToJsonString();
        string? predicted = planning.Plan(after, null, null) is { } plan ? PlanJson.Figures(plan).ToJsonString() : null;
        control.Write((db, token) => db.Jobs.Where(row => row.Id == id && row.Project == project)
            .ExecuteUpdateAsync(row => row.SetProperty(job => job.Spec, json).SetProperty(job => job.Predicted, predicted), token));
        control.Touch($"jobs/{id}");
        return (new GangRevision(JobSpecWriter.ToJson(after).ToJsonString(), shape), string.Join(", ", what));
    }

    private static TrainingJobSpec Changed(TrainingJobSpec job, UpdateJobRequest request)
    {
        var after = job with
        {
            Training = request.HasSteps ? job.Training with { Steps = request.Steps } : job.Training,
            Optimizer = request.HasLr ? job.Optimizer with { Lr = request.Lr } : job.Optimizer,
        };
        if (!request.HasData)
        {
            return after;
        }

        var elastic = job.Resources.Elastic is { } widths
            ? widths with { MinData = Math.Min(widths.MinData, request.Data), MaxData = widths.MaxData is null ? null : request.Data }
            : null;
        return after with { Parallelism = job.Parallelism with { Data = request.Data }, Resources = job.Resources with { Elastic = elastic } };
    }

    private static IEnumerable<string> WhatChanged(TrainingJobSpec before, TrainingJobSpec after)
    {
        if (before.Training.Steps != after.Training.Steps)
        {
            yield return $"the steps from {before.Training.Steps} to {after.Training.Steps}";
        }

        if (before.Optimizer.Lr != after.Optimizer.Lr)
        {
            yield return string.Create(CultureInfo.InvariantCulture, $"the learning rate from {before.Optimizer.Lr:0.######e+0} to {after.Optimizer.Lr:0.######e+0}");
        }

        if (before.Parallelism.Data != after.Parallelism.Data || before.Resources.Elastic != after.Resources.Elastic)
        {
            yield return $"the data-parallel width from {before.Parallelism.Data} to {after.Parallelism.Data}";
        }
    }

    private static void Require(TrainingJobSpec job)
    {
        if (JobSpecReader.Read(JobSpecWriter.ToJson(job)) is Validated<TrainingJobSpec>.Invalid invalid)
        {
            throw new InvalidRequestException([.. invalid.Violations.Select(violation => violation with { Field = $"spec.{violation.Field}" })]);
        }
    }

    private static TrainingJobSpec Valid(string json) => JobSpecReader.Read(JsonNode.Parse(json)) is Validated<TrainingJobSpec>.Valid { Value: var job }
        ? job
        : throw new InvalidOperationException("A stored job cannot be read.");
}
