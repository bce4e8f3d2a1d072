using System.Diagnostics;
using System.Globalization;
using Platform.Benchmarks.Collectives;
using Platform.Benchmarks.Training;
using Platform.Scheduling.Planning;
using Platform.Torch.Native;
using Platform.Torch.Parallel;
using Platform.Torch.Timelines;
using Platform.Worker.Engine.Measuring;
using Platform.Worker.Engine.Training;
using TorchSharp;

namespace Platform.Benchmarks.Memory;

/// <summary>
/// Live tensor bytes of every rank at their highest beside what the planner predicts, each rank a process of its own as in a
/// job. Ends with 1 when a rank is off by more than a tenth.
/// </summary>
internal static class MemoryBenchmark
{
    private const double Tolerance = 0.10;
    private const int QuickLayouts = 2;

    public static int Run(string[] args) => args switch
    {
        ["rank", var rank, var layout] => Measure(int.Parse(rank, CultureInfo.InvariantCulture), MeasuredLayout.All[int.Parse(layout, CultureInfo.InvariantCulture)]),
        [] => Compare(MeasuredLayout.All.Count),
        ["--quick"] => Compare(QuickLayouts),
        _ => Refuse(),
    };

    private static int Refuse()
    {
        Console.Error.WriteLine("usage: memory [--quick]");
        return 2;
    }

    private static int Compare(int count)
    {
        Console.WriteLine("Live tensor bytes per rank at their highest during a step; resident is what the process grew by.");
        Console.WriteLine($"{"layout",-30} {"rank",4} {"predicted",10} {"measured",10} {"ratio",6} {"resident",10}");
        var (worst, least) = (0.0, long.MaxValue);
        for (var i = 0; i < count; i++)
        {
            var layout = MeasuredLayout.All[i];
            var plan = layout.Plan();
            var model = new MemoryModel(layout.Job, plan.Model);
            var processes = Enumerable.Range(0, plan.Mesh.WorldSize).Select(rank => RankProcess.Start($"memory rank {rank} {i}")).ToList();
            try
            {
                RankProcess.Introduce(processes, oneNode: true);
                for (var rank = 0; rank < processes.Count; rank++)
                {
                    var words = processes[rank].ReadLine().Split(' ');
                    var (measured, resident) = (long.Parse(words[0], CultureInfo.InvariantCulture), long.Parse(words[1], CultureInfo.InvariantCulture));
                    var predicted = model.Of(plan.Mesh.CoordinateOf(rank).Pipeline).Total;
                    var ratio = (double)measured / predicted;
                    (worst, least) = (Math.Max(worst, Math.Abs(ratio - 1)), Math.Min(least, measured));
                    Console.WriteLine(string.Create(
                        CultureInfo.InvariantCulture,
                        $"{(rank == 0 ? layout.Name : ""),-30} {rank,4} {Gibibytes(predicted),10} {Gibibytes(measured),10} {ratio,6:0.000} {Gibibytes(resident),10}"));
                }
            }
            finally
            {
                foreach (var process in processes)
                    process.Dispose();
            }
        }

        Console.WriteLine();
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"memory_layouts={count}"));
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"memory_least_bytes_per_rank={least}"));
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"memory_worst_error_ratio={worst:0.0000}"));
        return worst <= Tolerance ? 0 : 1;
    }

    private static int Measure(int rank, MeasuredLayout layout)
    {
        using var world = RankProcess.Join(rank);
        TorchThreads.Set(1);
        var plan = layout.Plan();
        using var tokens = new RandomTokens(plan.Model.VocabSize, (int)(16 * plan.TokensPerStep) + 1);
        using var groups = ParallelGroups.Create(world, plan.Mesh, plan.Model.TieWordEmbeddings);

        // What the kernels set up once is no tensor.
        MatrixProductRate.Measure(torch.ScalarType.BFloat16, TimeSpan.Zero, null);
        MatrixProductRate.Measure(torch.ScalarType.Float32, TimeSpan.Zero, null);
        var resident = Resident();
        using var memory = LiveTensorMemory.Start(TimeSpan.FromMilliseconds(5)) ?? throw new PlatformNotSupportedException("The allocator does not tell what it has handed out.");
        var recorder = new StepRecorder(1) { AtEdges = () => memory.Sample() };
        using var trainer = new Trainer(plan, groups, [tokens.File], recorder);
        trainer.Step(1, false, false);
        using var process = Process.GetCurrentProcess();
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{memory.Highest} {process.PeakWorkingSet64 - resident}"));
        groups.World.Barrier();
        return 0;
    }

    private static long Resident()
    {
        using var process = Process.GetCurrentProcess();
        return process.WorkingSet64;
    }

    private static string Gibibytes(long bytes) => string.Create(CultureInfo.InvariantCulture, $"{bytes / (double)(1L << 30):0.000} GiB");
}
