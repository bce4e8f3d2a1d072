using System.Globalization;
using Platform.Benchmarks.Collectives;
using Platform.Core.Jobs;
using Platform.Core.Parallelism;
using Platform.Torch.Collectives.Loopback;
using TorchSharp;

namespace Platform.Benchmarks.Training;

/// <summary>
/// Whether memory stays flat: resident memory and tensors alive after a tenth of the steps, when everything that is allocated
/// once has been, beside the same at the end.
/// </summary>
internal static class SoakBenchmark
{
    public static int Run(string[] args)
    {
        var steps = 2000;
        if (args is not [] && (args is not ["--steps", var text] || !int.TryParse(text, CultureInfo.InvariantCulture, out steps) || steps < 20))
        {
            Console.Error.WriteLine("soak-train [--steps N], N at least 20");
            return 2;
        }

        var plan = TrainedModel.Quick.Plan(new DeviceMesh(1, 1, 1), 2, Precision.BFloat16);
        using var world = LoopbackWorld.CreateAll(1, null).Single();
        using var trainer = new RankTrainer(plan, world, threads: 2);
        Console.WriteLine($"{"step",8}{"resident MiB",16}{"live tensors",16}");
        var marks = new List<(double Resident, long Tensors)>();
        for (var step = 1; step <= steps; step++)
        {
            trainer.Step();
            if (step % (steps / 10) != 0)
                continue;
            GC.Collect();
            marks.Add((Environment.WorkingSet / (double)(1 << 20), torch.Tensor.TotalCount));
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{step,8}{marks[^1].Resident,16:0.0}{marks[^1].Tensors,16}"));
        }

        Console.WriteLine();
        CollectivesBenchmark.Print("soak_steps", steps);
        CollectivesBenchmark.Print("soak_resident_ratio", marks[^1].Resident / marks[0].Resident);
        CollectivesBenchmark.Print("soak_live_tensors_growth", marks[^1].Tensors - marks[0].Tensors);
        return 0;
    }
}
