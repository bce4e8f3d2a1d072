using Platform.Benchmarks;
using Platform.Benchmarks.Collectives;

return Benchmarks.Run(args,
[
    new Benchmark("collectives", "all-reduce in shared memory and over TCP beside a plain loopback copy", CollectivesBenchmark.Run),
]);
