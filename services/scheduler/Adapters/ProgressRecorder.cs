using Microsoft.EntityFrameworkCore;
using Platform.Core.Gangs;
using Platform.Scheduler.Data;

namespace Platform.Scheduler.Adapters;

/// <summary>Keeps how far jobs are. Repeated reports are harmless; those of an attempt that is over are ignored.</summary>
internal static class ProgressRecorder
{
    /// <summary>Adds a report to the batch; false when its attempt is over.</summary>
    public static bool Record(GangProgressReport report, ControlContext control, JobPlanning planning)
    {
        if (control.Plane.Find(report.Gang) is not { Kind: WorkloadKind.Training, IsActive: true } gang || gang.Attempt?.Number != report.Attempt)
        {
            return false;
        }

        string job = report.Gang["jobs/".Length..];
        foreach (var point in report.Points)
        {
            SchedulerMetrics.TrainingStepSeconds.Observe(point.StepSeconds);
        }

        if (report.Points.Count > 0)
        {
            var last = report.Points.MaxBy(point => point.Step)!;
            SchedulerMetrics.TrainingLoss.WithLabels(job).Set(last.Loss);
            SchedulerMetrics.TrainingGradNorm.WithLabels(job).Set(last.GradNorm);
            SchedulerMetrics.TrainingTokensPerSecond.WithLabels(job).Set(last.TokensPerSecond);
            SchedulerMetrics.TrainingStep.WithLabels(job).Set(last.Step);
            SchedulerMetrics.ObserveFigures(job, report.Points);
            control.Plane.NoteStep(report.Gang, report.Attempt, last.Step, report.Points.Average(point => point.StepSeconds), control.Now);
            if (report.Points.LastOrDefault(point => point.Measurement is not null)?.Measurement is { } measured)
            {
                planning.Observe(gang.Shape.DeviceKind, gang.Shape.Mesh.WorldSize, measured);
            }
        }

        control.Write((db, cancellationToken) => StoreAsync(db, job, report, cancellationToken));
        control.Touch(report.Gang);
        return true;
    }

    private static async Task StoreAsync(SchedulerDbContext db, string job, GangProgressReport report, CancellationToken cancellationToken)
    {
        // Non-finite figures have no place in a column of numbers on either database; the ranks fail on them anyway.
        var points = report.Points.Where(point => double.IsFinite(point.Loss) && double.IsFinite(point.GradNorm)).ToList();
        foreach (var point in points)
        {
            string? parts = point.Parts is { } split ? GangJson.Write(split) : null;
            await db.Database.ExecuteSqlAsync(
                $"""
                INSERT INTO metric_points ("Job", "Step", "Loss", "GradNorm", "TokensPerSecond", "LearningRate", "StepSeconds", "EvalLoss", "Parts", "Utilization")
                VALUES ({job}, {point.Step}, {point.Loss}, {point.GradNorm}, {point.TokensPerSecond}, {point.LearningRate}, {point.StepSeconds}, {point.EvalLoss}, {parts}, {point.ModelFlopsUtilization})
                ON CONFLICT ("Job", "Step") DO UPDATE SET "Loss" = excluded."Loss", "GradNorm" = excluded."GradNorm",
                    "TokensPerSecond" = excluded."TokensPerSecond", "LearningRate" = excluded."LearningRate",
                    "StepSeconds" = excluded."StepSeconds", "EvalLoss" = excluded."EvalLoss",
                    "Parts" = excluded."Parts", "Utilization" = excluded."Utilization"
                """,
                cancellationToken);
        }

        var row = db.Progress.Local.SingleOrDefault(known => known.Job == job) ?? await db.Progress.SingleOrDefaultAsync(known => known.Job == job, cancellationToken);
        if (row is null)
        {
            db.Progress.Add(row = new ProgressRow { Job = job, Phase = report.Phase });
        }

        row.Phase = report.Phase;
        row.PhaseFraction = report.PhaseFraction;
        if (points.Count > 0)
        {
            var last = points.MaxBy(point => point.Step)!;
            row.Step = last.Step;
            row.Loss = last.Loss;
            row.TokensPerSecond = last.TokensPerSecond;
            row.StepSeconds = last.StepSeconds;
            row.Measured = points.LastOrDefault(point => point.Measurement is not null)?.Measurement is { } measured ? GangJson.Write(measured) : row.Measured;
            row.FirstLoss = points.FirstOrDefault(point => point.Step == 1)?.Loss ?? row.FirstLoss ?? points.MinBy(point => point.Step)!.Loss;
        }
    }
}
