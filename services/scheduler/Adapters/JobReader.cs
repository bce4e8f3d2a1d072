using System.Text.Json.Nodes;
using Microsoft.EntityFrameworkCore;
using Platform.Core.Gangs;
using Platform.Hosting.Errors;
using Platform.Scheduler.Core;
using Platform.Scheduler.Data;
using Platform.Scheduler.Grpc;
using Platform.Scheduling.Gangs;
using Platform.V1;

namespace Platform.Scheduler.Adapters;

/// <summary>Reads jobs as they were last committed.</summary>
internal sealed class JobReader(IDbContextFactory<SchedulerDbContext> factory, ControlView view, SchedulerOptions options, TimeProvider time)
{
    /// <summary>A job with its gang; throws when there is none.</summary>
    /// <exception cref="NotFoundException">There is no such job.</exception>
    public async Task<(Job Job, GangState Gang)> GetAsync(string project, string id, CancellationToken cancellationToken)
    {
        RequireLeading();
        await using var db = await factory.CreateDbContextAsync(cancellationToken);
        var found = await Query(db).Where(entry => entry.Job.Project == project && entry.Job.Id == id).SingleOrDefaultAsync(cancellationToken);
        if (found is null)
        {
            throw new NotFoundException(ResourceNames.Job(project, id));
        }

        var (job, gang) = Read(found);
        var attempts = await db.Attempts.AsNoTracking().Where(attempt => attempt.Gang == gang.Gang).ToListAsync(cancellationToken);
        JobFigures.AddCost(job, gang, attempts, options.DevicePricePerHour, time.GetUtcNow());
        return (job, gang);
    }

    /// <summary>A job that has only just been stored, as its row and gang say.</summary>
    public Job Of(JobRow row, GangState gang) => Read(row, gang, null);

    /// <summary>A page of jobs, newest first, and the token of the next.</summary>
    public async Task<ListJobsResponse> ListAsync(string project, int size, long? before, JobState state, CancellationToken cancellationToken)
    {
        RequireLeading();
        await using var db = await factory.CreateDbContextAsync(cancellationToken);
        var query = Query(db).Where(entry => entry.Job.Project == project);
        if (before is { } sequence)
        {
            query = query.Where(entry => entry.Job.Sequence < sequence);
        }

        if (state != JobState.Unspecified)
        {
            string[] stages = JobMessages.StagesOf(state);
            query = query.Where(entry => stages.Contains(entry.Gang.Stage));
        }

        var page = await query.OrderByDescending(entry => entry.Job.Sequence).Take(size + 1).ToListAsync(cancellationToken);
        var response = new ListJobsResponse { NextPageToken = page.Count > size ? PageToken.Write(page[size - 1].Job.Sequence) : "" };
        response.Jobs.AddRange(page.Take(size).Select(entry => Read(entry).Job));
        return response;
    }

    /// <summary>Points of a job after a step.</summary>
    public async Task<IReadOnlyList<MetricPointRow>> PointsAsync(string id, int afterStep, CancellationToken cancellationToken)
    {
        await using var db = await factory.CreateDbContextAsync(cancellationToken);
        return await db.MetricPoints.AsNoTracking().Where(point => point.Job == id && point.Step > afterStep).OrderBy(point => point.Step).ToListAsync(cancellationToken);
    }

    private void RequireLeading()
    {
        if (!view.Now.Leading)
        {
            throw new UnavailableException("NOT_LEADING", "This scheduler is standing by; another one leads.") { RetryAfter = TimeSpan.FromSeconds(1) };
        }
    }

    private static IQueryable<Entry> Query(SchedulerDbContext db) =>
        from job in db.Jobs.AsNoTracking()
        join gang in db.Gangs.AsNoTracking() on "jobs/" + job.Id equals gang.Gang
        join progress in db.Progress.AsNoTracking() on job.Id equals progress.Job into some
        from progress in some.DefaultIfEmpty()
        select new Entry { Job = job, Gang = gang, Progress = progress };

    private (Job Job, GangState Gang) Read(Entry entry)
    {
        var gang = GangJson.Read<GangState>(entry.Gang.State);
        return (Read(entry.Job, gang, entry.Progress), gang);
    }

    private Job Read(JobRow row, GangState gang, ProgressRow? progress)
    {
        int steps = JsonNode.Parse(row.Spec)?["training"]?["steps"]?.GetValue<int>() ?? 0;
        return JobMessages.Of(row, gang, progress, view.Now.Deferrals.GetValueOrDefault(gang.Gang), steps);
    }

    private sealed class Entry
    {
        public required JobRow Job { get; init; }

        public required GangRow Gang { get; init; }

        public required ProgressRow? Progress { get; init; }
    }
}
