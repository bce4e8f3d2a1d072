using System.Globalization;
using Platform.Benchmarks.Collectives;
using Platform.Core.Jobs;
using Platform.Core.Parallelism;
using Platform.Torch.Collectives.Loopback;
using Platform.Torch.Cuda;

namespace Platform.Benchmarks.Training;

/// <summary>
/// One GPU training models of 1 to 7 billion weights in bf16, the largest with whole layers recomputed so that it fits into
/// 141 GB. The unit is TFLOP/s by the convention of <see cref="TrainedModel.OperationsPerToken"/>; what is recomputed does not count.
/// </summary>
internal static class CudaTraining
{
    public static int Run(TrainOptions options)
    {
        try
        {
            var (device, place) = CudaBackend.Use(0);
            using (device)
                return Run(options, device.Name, place);
        }
        catch (CudaException missing)
        {
            Console.Error.WriteLine($"--device cuda: {missing.Message}");
            return 1;
        }
    }

    private static int Run(TrainOptions options, string name, TorchSharp.torch.Device place)
    {
        Console.WriteLine($"{name}, .NET {Environment.Version}");
        Console.WriteLine($"{"model",-8}{"weights",12}{"step s",10}{"tokens/s",12}{"TFLOP/s",10}");
        var figures = new List<(string Name, double Value)>();
        foreach (var part in options.Parts.Order(StringComparer.Ordinal))
        {
            var model = options.Quick ? TrainedModel.Quick : TrainedModel.Large[part];
            var plan = model.Plan(new DeviceMesh(1, 1, 1), 1, Precision.BFloat16, part == "7b" ? "full" : "none");
            using var world = LoopbackWorld.CreateAll(1, null).Single();
            using var trainer = new RankTrainer(plan, world, Math.Max(1, Environment.ProcessorCount / 2), place);
            trainer.Step(); // The first steps allocate.
            trainer.Step();
            var time = TrainBenchmark.Median([.. Enumerable.Range(0, options.Rounds).Select(_ => trainer.Step())]);
            var rate = model.OperationsPerToken(plan) * model.TokensPerStep / time;
            Console.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{part,-8}{plan.Model.ParameterCount,12}{time,10:0.000}{model.TokensPerStep / time,12:0}{rate / 1e12,10:0.0}"));
            figures.Add(($"cuda_{part}_tflops", rate / 1e12));
            figures.Add(($"cuda_{part}_tokens_per_s", model.TokensPerStep / time));
        }

        Console.WriteLine();
        foreach (var (figure, value) in figures)
            CollectivesBenchmark.Print(figure, value);
        return 0;
    }
}
