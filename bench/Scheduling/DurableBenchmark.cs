using System.Diagnostics;
using System.Globalization;
using Platform.Benchmarks.Scheduling.Service;
using Platform.V1;

namespace Platform.Benchmarks.Scheduling;

/// <summary>
/// Gangs per second through the whole scheduler: submitted over its API, placed, committed to a database on disk, sent over the
/// bus, prepared, started, ended and released, each of these a commit that a message follows. Gangs of 1 to 8 ranks run no time
/// at all on 64 nodes of 8 devices; as one ends another is submitted, so that there are always some that wait.
/// </summary>
internal static class DurableBenchmark
{
    private const int NodeCount = 64;
    private const int DevicesPerNode = 8;
    private const int InFlight = 64;
    private const int Alive = 400;

    public static async Task<IReadOnlyList<(string Name, double Value)>> RunAsync(bool quick)
    {
        var figures = new List<(string Name, double Value)>();
        Console.WriteLine($"{"database",-14}{"gangs",10}{"decided/s",12}{"finished/s",12}");
        figures.Add(("durable_gangs_per_second_sqlite", await MeasureAsync("SQLite", null, quick)));
        using var postgresql = PostgreSql.Start();
        if (postgresql is null)
            Console.WriteLine("PostgreSQL is not installed, so it is not measured.");
        else
            figures.Add(("durable_gangs_per_second_postgresql", await MeasureAsync("PostgreSQL", postgresql.ConnectionString, quick)));
        return figures;
    }

    private static async Task<double> MeasureAsync(string name, string? postgresql, bool quick)
    {
        int warmUp = quick ? 300 : 1500, count = quick ? 600 : 6000;
        var board = new GangBoard();
        await using var scheduler = await SchedulerUnderTest.StartAsync(postgresql, NodeCount, DevicesPerNode, board);
        await SubmitAsync(scheduler, board, "warm", warmUp, 0);
        await FinishedAsync(scheduler);
        long begin = Stopwatch.GetTimestamp();
        await SubmitAsync(scheduler, board, "gang", count, warmUp);
        while (board.Prepared < warmUp + count)
            await Task.Delay(5);
        double decided = count / Stopwatch.GetElapsedTime(begin, board.LastPrepared).TotalSeconds;
        await FinishedAsync(scheduler);
        double finished = count / Stopwatch.GetElapsedTime(begin).TotalSeconds;
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{name,-14}{count,10}{decided,12:0}{finished,12:0}"));
        return finished;
    }

    private static Task SubmitAsync(SchedulerUnderTest scheduler, GangBoard board, string name, int count, int before)
    {
        int next = -1;
        return Task.WhenAll(Enumerable.Range(0, InFlight).Select(async _ =>
        {
            while (Interlocked.Increment(ref next) is var n && n < count)
            {
                while (before + n - board.Stopped > Alive)
                    await Task.Delay(2);
                await scheduler.Jobs.CreateJobAsync(SchedulerUnderTest.Request($"{name}-{n}", "default", 100, 1 << (n % 4), TimeSpan.Zero));
            }
        }));
    }

    private static async Task FinishedAsync(SchedulerUnderTest scheduler)
    {
        while ((await scheduler.Cluster.ListQueuesAsync(new ListQueuesRequest())).Queues.Sum(queue => queue.PendingJobs + queue.RunningJobs) > 0)
            await Task.Delay(10);
    }
}
