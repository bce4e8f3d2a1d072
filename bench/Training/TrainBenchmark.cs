using System.Globalization;
using Platform.Benchmarks.Collectives;
using Platform.Core.Jobs;
using Platform.Core.Parallelism;
using Platform.Torch.Collectives.Loopback;
using Platform.Torch.Native;
using TorchSharp;

namespace Platform.Benchmarks.Training;

/// <summary>
/// Training on the CPU. Every step is measured between two measurements of the matrix-product rate, and every step of the
/// mesh between two of the single process, so that a change of the machine's speed falls on both; medians of these ratios count.
/// </summary>
internal static class TrainBenchmark
{
    private const int Threads = 2;
    private const int WarmSteps = 4;

    public static int Run(string[] args)
    {
        if (args is ["rank", var rank, var size])
            return TrainedMesh.Run(int.Parse(rank, CultureInfo.InvariantCulture), size == "quick" ? TrainedModel.Quick : TrainedModel.Measured);
        TrainOptions options;
        try
        {
            options = TrainOptions.Parse(args);
        }
        catch (ArgumentException mistake)
        {
            Console.Error.WriteLine($"{mistake.Message}\n{TrainOptions.Usage}");
            return 2;
        }

        return options.Device == "cuda" ? CudaTraining.Run(options) : Run(options);
    }

    private static int Run(TrainOptions options)
    {
        NativeRuntime.EnsureLoaded();
        TorchThreads.Set(Threads);
        var model = options.Quick ? TrainedModel.Quick : TrainedModel.Measured;
        Console.WriteLine($"{Environment.ProcessorCount} processors, {Environment.OSVersion}, .NET {Environment.Version}; {Threads} threads");
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{model}: {model.Plan(new DeviceMesh(1, 1, 1), 1, Precision.BFloat16).Model.ParameterCount / 1e6:0.0}M weights{(options.Quick ? "; quick: figures mean nothing" : "")}"));
        var figures = new List<(string Name, double Value)>();
        if (options.Parts.Contains("bf16") || options.Parts.Contains("mesh"))
            figures.AddRange(Measure(model, Precision.BFloat16, options));
        if (options.Parts.Contains("fp32"))
            figures.AddRange(Measure(model, Precision.Float32, options));
        if (options.Parts.Contains("collectives"))
        {
            Console.WriteLine();
            figures.AddRange(CollectivesBenchmark.Measure(options.Quick ? 10 : 1));
        }

        Console.WriteLine();
        foreach (var (name, value) in figures)
            CollectivesBenchmark.Print(name, value);
        return 0;
    }

    private static IEnumerable<(string Name, double Value)> Measure(TrainedModel model, Precision precision, TrainOptions options)
    {
        var (name, type) = precision == Precision.BFloat16 ? ("bf16", torch.ScalarType.BFloat16) : ("fp32", torch.ScalarType.Float32);
        var plan = model.Plan(new DeviceMesh(1, 1, 1), model.GlobalBatch, precision);
        var operations = model.OperationsPerToken(plan) * model.TokensPerStep;
        var seconds = options.Quick ? 0.02 : 0.2;
        using var world = LoopbackWorld.CreateAll(1, null).Single();
        using var trainer = new RankTrainer(plan, world, Threads);
        using var matrices = new MatrixRate(model, type);
        using var mesh = precision == Precision.BFloat16 && options.Parts.Contains("mesh") ? new TrainedMesh(options.Quick) : null;
        // The first steps of a process allocate and are compiled; a job has thousands.
        for (var warm = 0; warm < WarmSteps; warm++)
        {
            trainer.Step();
            mesh?.Step();
        }


        Console.WriteLine($"\n{name,-6}{"product GFLOP/s",18}{"step s",10}{"tokens/s",10}{"GFLOP/s",10}{"ratio",8}{"2x2x2 s",10}{"ratio",8}");
        List<double> rates = [], times = [], ratios = [], meshTimes = [], meshRatios = [];
        var before = matrices.Measure(seconds);
        for (var round = 0; round < options.Rounds; round++)
        {
            var time = trainer.Step();
            var after = matrices.Measure(seconds);
            var rate = (before + after) / 2;
            rates.Add(rate);
            times.Add(time);
            ratios.Add(operations / time / rate);
            var line = string.Create(
                CultureInfo.InvariantCulture,
                $"{round + 1,-6}{rate / 1e9,18:0}{time,10:0.000}{model.TokensPerStep / time,10:0}{operations / time / 1e9,10:0}{ratios[^1],8:0.000}");
            if (mesh is not null)
            {
                var meshTime = mesh.Step();
                var again = trainer.Step();
                meshTimes.Add(meshTime);
                meshRatios.Add((time + again) / 2 / meshTime);
                line += string.Create(CultureInfo.InvariantCulture, $"{meshTime,10:0.000}{meshRatios[^1],8:0.000}");
                after = matrices.Measure(seconds);
            }

            Console.WriteLine(line);
            before = after;
        }

        if (options.Parts.Contains(name))
        {
            yield return ($"{name}_mfu_ratio", Median(ratios));
            yield return ($"{name}_tokens_per_s", model.TokensPerStep / Median(times));
            yield return ($"{name}_product_gflops", Median(rates) / 1e9);
        }

        if (mesh is null)
            yield break;
        yield return ("mesh_2x2x2_ratio", Median(meshRatios));
        yield return ("mesh_2x2x2_tokens_per_s", model.TokensPerStep / Median(meshTimes));
    }

    public static double Median(List<double> values)
    {
        var sorted = values.Order().ToArray();
        return (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }
}
