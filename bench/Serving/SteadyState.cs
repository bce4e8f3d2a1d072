using System.Globalization;
using Platform.Core.Deployments;

namespace Platform.Benchmarks.Serving;

/// <summary>What the engine leaves behind as it runs: managed allocation per iteration, collections, resident memory.</summary>
internal static class SteadyState
{
    private const int Concurrent = 64;
    private const int MeasuredIterations = 400;

    /// <summary>
    /// Bytes that the engine's thread allocates per iteration and per token. Each token is a response, each iteration is not:
    /// few and many streams tell the two apart.
    /// </summary>
    public static void Allocation(BenchModel model, EngineOptions options, BenchReport report)
    {
        using var engine = new EngineUnderTest(model, options with { KvCacheBytes = 64L << 20 });
        var random = new Random(23);
        double Bytes(int streams)
        {
            using var watch = new IterationWatch();
            engine.Observer.Watch(watch);
            Task.WhenAll(Enumerable.Range(0, streams).Select(_ => engine.TimesAsync(BesideLlamaCpp.Prompt(random, 16, model), MeasuredIterations)))
                .GetAwaiter().GetResult();
            return watch.Iterations.Where(i => i.Cost.Streams == streams).Average(i => (double)i.AllocatedBytes);
        }

        Bytes(4);
        var (few, many) = (Bytes(4), Bytes(32));
        var perToken = (many - few) / 28;
        var perIteration = few - (4 * perToken);
        report.Row("managed bytes per iteration apart from responses", Text(perIteration), $"and per response {Text(perToken)}");
        report.Figure("managed_bytes_per_iteration", perIteration);
        report.Figure("managed_bytes_per_response", perToken);
    }

    /// <summary>Very many requests one after the other.</summary>
    public static void Soak(BenchModel model, EngineOptions options, BenchReport report, int requests)
    {
        using var engine = new EngineUnderTest(model, options with { KvCacheBytes = 16L << 20, MaxNumSeqs = Concurrent });
        var random = new Random(29);
        Serve(engine, model, random, requests / 10);
        var (residentBefore, gen2) = (Environment.WorkingSet, GC.CollectionCount(2));
        var (gen0, gen1) = (GC.CollectionCount(0), GC.CollectionCount(1));
        Serve(engine, model, random, requests - (requests / 10));
        var resident = Environment.WorkingSet;
        report.Row(
            $"resident MiB after {requests} requests", $"{resident >> 20}", $"after a tenth of them {residentBefore >> 20}",
            Text((double)resident / residentBefore));
        report.Row("collections meanwhile, generation 2", $"{GC.CollectionCount(2) - gen2}", $"0: {GC.CollectionCount(0) - gen0}, 1: {GC.CollectionCount(1) - gen1}");
        report.Figure("gen2_collections", GC.CollectionCount(2) - gen2);
        report.Figure("soak_resident_ratio", (double)resident / residentBefore);
        report.Figure("soak_requests", requests);
    }

    private static void Serve(EngineUnderTest engine, BenchModel model, Random random, int requests)
    {
        var left = requests;
        var seeds = Enumerable.Range(0, Concurrent).Select(_ => random.Next()).ToArray();
        Task.WhenAll(seeds.Select(seed => Task.Run(async () =>
        {
            var own = new Random(seed);
            while (Interlocked.Decrement(ref left) >= 0)
                await engine.DrainAsync(BesideLlamaCpp.Prompt(own, 4 + own.Next(40), model), 1 + own.Next(12));
        }))).GetAwaiter().GetResult();
    }

    private static string Text(double value) => value.ToString("0.##", CultureInfo.InvariantCulture);
}
