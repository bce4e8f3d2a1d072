using System.Diagnostics;
using System.Globalization;
using Platform.Benchmarks.Scheduling.Service;
using Platform.V1;

namespace Platform.Benchmarks.Scheduling;

/// <summary>
/// Kueue's baseline workload (kubernetes-sigs/kueue, test/performance/scheduler, configs/baseline): 5 cohorts of 6 queues with a
/// quota of 20 and a borrowing limit of 100; each queue gets 350 small, 100 medium and 50 large workloads at fixed intervals, which
/// run for fixed times. Measured is the time from the first submission until all of them have finished. Kueue: 351.1 s; no
/// scheduler can need less than 66 s, for each queue's work is 1,320 device-seconds on 20 devices.
/// </summary>
internal static class KueueBaseline
{
    private const int Cohorts = 5;
    private const int QueuesPerCohort = 6;
    private const int Quota = 20;
    private const int DevicesPerNode = 96;
    private const int WarmUpJobs = 300;
    private const double Kueue = 351.1;

    private static readonly Class[] Classes =
    [
        new("small", 350, 1, 50, TimeSpan.FromMilliseconds(100), TimeSpan.FromMilliseconds(200), 215.5),
        new("medium", 100, 5, 100, TimeSpan.FromMilliseconds(500), TimeSpan.FromMilliseconds(500), 76.8),
        new("large", 50, 20, 200, TimeSpan.FromMilliseconds(1200), TimeSpan.FromMilliseconds(1000), 16.5),
    ];

    public static async Task<IReadOnlyList<(string Name, double Value)>> RunAsync(bool quick)
    {
        double part = quick ? 0.1 : 1;
        var board = new GangBoard();

        // Kueue counts quota and has no nodes here; ours are of 96 devices, as in its benchmark with topology, and hold all quotas
        // together. As in Kueue, a workload may be preempted as soon as it runs.
        await using var scheduler = await SchedulerUnderTest.StartAsync(
            null, ((Cohorts * QueuesPerCohort * Quota) + DevicesPerNode - 1) / DevicesPerNode, DevicesPerNode, board, "--Scheduler:PreemptionMinRuntimeSeconds=0");
        await SetUpQueuesAsync(scheduler);
        await WarmUpAsync(scheduler);
        var arrivals = Arrivals(part);
        long begin = Stopwatch.GetTimestamp();
        await SubmitAsync(scheduler, arrivals, begin);
        while (board.Ended < arrivals.Count + WarmUpJobs)
            await Task.Delay(10);
        await FinishedAsync(scheduler);
        double seconds = Stopwatch.GetElapsedTime(begin).TotalSeconds;
        await RequireSuccessAsync(scheduler, arrivals.Count);
        double bound = Classes.Sum(c => (int)(c.Count * part) * c.Devices * c.Runtime.TotalSeconds) / Quota;
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"Kueue's baseline: {arrivals.Count} workloads in {seconds:0.0} s ({arrivals.Count / seconds:0} per second), {board.Attempts - arrivals.Count} restarts after preemption; lower bound {bound:0.0} s{(quick ? "" : $", Kueue {Kueue:0.0} s")}"));
        foreach (var each in Classes)
        {
            double wait = arrivals.Where(arrival => arrival.Class == each)
                .Average(arrival => Stopwatch.GetElapsedTime(begin, board.StartOf(arrival.Name) ?? throw new InvalidOperationException($"{arrival.Name} never ran.")).TotalSeconds - arrival.At.TotalSeconds);
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  {each.Name,-8} mean time to start {wait,8:0.00} s{(quick ? "" : $"   (Kueue, to admission, {each.KueueSeconds:0.0} s)")}"));
        }

        return quick ? [("kueue_baseline_quick_seconds", seconds)] : [("kueue_baseline_seconds", seconds)];
    }

    private static async Task SetUpQueuesAsync(SchedulerUnderTest scheduler)
    {
        for (int cohort = 0; cohort < Cohorts; cohort++)
        {
            await PutAsync(new Queue { Name = $"queues/cohort-{cohort}" });
            for (int queue = 0; queue < QueuesPerCohort; queue++)
            {
                await PutAsync(new Queue
                {
                    Name = $"queues/{NameOf(cohort, queue)}",
                    Parent = $"queues/cohort-{cohort}",
                    NominalQuota = { ["cpu"] = Quota },
                    BorrowingLimit = { ["cpu"] = 100 },
                });
            }
        }

        Task PutAsync(Queue queue) => scheduler.Cluster.UpdateQueueAsync(new UpdateQueueRequest { Queue = queue }).ResponseAsync;
    }

    private static string NameOf(int cohort, int queue) => $"cohort-{cohort}-queue-{queue}";

    /// <summary>Some jobs before the clock starts, so that what is measured is not the compiler.</summary>
    private static async Task WarmUpAsync(SchedulerUnderTest scheduler)
    {
        await Task.WhenAll(Enumerable.Range(0, WarmUpJobs).Select(n => scheduler.Jobs.CreateJobAsync(
            SchedulerUnderTest.Request($"warm-{n}", NameOf(n % Cohorts, n % QueuesPerCohort), 50, 1 + (n % 5), TimeSpan.FromMilliseconds(10))).ResponseAsync));
        await FinishedAsync(scheduler);
    }

    private static List<Arrival> Arrivals(double part) =>
    [
        .. (from cohort in Enumerable.Range(0, Cohorts)
            from queue in Enumerable.Range(0, QueuesPerCohort)
            from each in Classes
            from n in Enumerable.Range(0, (int)(each.Count * part))
            select new Arrival($"{each.Name}-{cohort}-{queue}-{n}", NameOf(cohort, queue), each, n * each.Every)).OrderBy(arrival => arrival.At),
    ];

    private static async Task SubmitAsync(SchedulerUnderTest scheduler, List<Arrival> arrivals, long begin)
    {
        var sent = new List<Task>(arrivals.Count);
        foreach (var arrival in arrivals)
        {
            if (arrival.At - Stopwatch.GetElapsedTime(begin) is { Ticks: > 0 } early)
                await Task.Delay(early);
            sent.Add(scheduler.Jobs.CreateJobAsync(
                SchedulerUnderTest.Request(arrival.Name, arrival.Queue, arrival.Class.Priority, arrival.Class.Devices, arrival.Class.Runtime)).ResponseAsync);
        }

        await Task.WhenAll(sent);
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"all submitted after {Stopwatch.GetElapsedTime(begin).TotalSeconds:0.0} s (the last is due after {arrivals[^1].At.TotalSeconds:0.0} s)"));
    }

    private static async Task FinishedAsync(SchedulerUnderTest scheduler)
    {
        while ((await scheduler.Cluster.ListQueuesAsync(new ListQueuesRequest())).Queues.Sum(queue => queue.PendingJobs + queue.RunningJobs) > 0)
            await Task.Delay(20);
    }

    /// <summary>Every job ended well, by what the scheduler has committed.</summary>
    private static async Task RequireSuccessAsync(SchedulerUnderTest scheduler, int expected)
    {
        int succeeded = 0;
        string token = "";
        do
        {
            var page = await scheduler.Jobs.ListJobsAsync(new ListJobsRequest { Parent = "projects/default", State = JobState.Succeeded, PageSize = 1000, PageToken = token });
            succeeded += page.Jobs.Count(job => !job.Spec.Name.StartsWith("warm-", StringComparison.Ordinal));
            token = page.NextPageToken;
        }
        while (token.Length > 0);
        if (succeeded != expected)
            throw new InvalidOperationException($"Expected {expected} jobs that succeeded, found {succeeded}.");
    }

    private sealed record Class(string Name, int Count, int Devices, int Priority, TimeSpan Every, TimeSpan Runtime, double KueueSeconds);

    private sealed record Arrival(string Name, string Queue, Class Class, TimeSpan At);
}
