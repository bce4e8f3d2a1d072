using System.Globalization;
using Platform.Benchmarks.Collectives;
using Platform.Core.Jobs;
using Platform.Core.Parallelism;

namespace Platform.Benchmarks.Training;

/// <summary>Eight ranks as processes of one node, one thread each; between steps they wait for the next line of their input.</summary>
internal sealed class TrainedMesh : IDisposable
{
    private static readonly DeviceMesh Mesh = new(2, 2, 2);
    private readonly IReadOnlyList<RankProcess> processes;

    public TrainedMesh(bool quick)
    {
        processes = [.. Enumerable.Range(0, Mesh.WorldSize).Select(rank => RankProcess.Start($"train rank {rank} {(quick ? "quick" : "measured")}"))];
        RankProcess.Introduce(processes, oneNode: true);
        foreach (var process in processes)
            process.ReadLine(); // It has its weights.
    }

    /// <summary>Seconds of the next step, as rank 0 sees it: from the same barrier to the end of its update.</summary>
    public double Step()
    {
        foreach (var process in processes)
            process.WriteLine("step");
        return processes.Max(process => double.Parse(process.ReadLine(), CultureInfo.InvariantCulture));
    }

    public void Dispose()
    {
        foreach (var process in processes)
            process.WriteLine("end");
        foreach (var process in processes)
            process.Dispose();
    }

    /// <summary>The child's side.</summary>
    public static int Run(int rank, TrainedModel model)
    {
        using var world = RankProcess.Join(rank);
        using var trainer = new RankTrainer(model.Plan(Mesh, microBatch: 1, Precision.BFloat16), world, threads: 1);
        Console.WriteLine("ready");
        while (Console.ReadLine() == "step")
            Console.WriteLine(trainer.Step().ToString("R", CultureInfo.InvariantCulture));
        return 0;
    }
}
