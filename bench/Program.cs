using Platform.Benchmarks;
using Platform.Benchmarks.Collectives;
using Platform.Benchmarks.Memory;
using Platform.Benchmarks.Scheduling;
using Platform.Benchmarks.Training;
using Platform.Benchmarks.Serving;

return Benchmarks.Run(args,
[
    new Benchmark("collectives", "all-reduce in shared memory and over TCP beside a plain loopback copy", CollectivesBenchmark.Run),
    new Benchmark("train", "training steps beside the matrix-product rate of the same threads, eight ranks beside one process, collectives",
        args => AsRank.Run("train", args, () => TrainBenchmark.Run(args))),
    new Benchmark("memory", "live tensor bytes per rank beside the planner's prediction", MemoryBenchmark.Run),
    new Benchmark("soak-train", "memory of one process over many training steps", args => AsRank.Run("soak-train", args, () => SoakBenchmark.Run(args))),
    new Benchmark("scheduling", "how full and how fast gangs are placed: packing of a trace, gangs per second through the whole scheduler, Kueue's baseline", SchedulingBenchmark.Run),
    new Benchmark("serve", "the serving engine beside llama.cpp and beside itself, or an open-loop load on an endpoint", ServingBenchmark.Run),
]);
