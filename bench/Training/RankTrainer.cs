using System.Diagnostics;
using Platform.Torch.Collectives;
using Platform.Torch.Native;
using Platform.Torch.Parallel;
using Platform.Worker.Engine.Planning;
using Platform.Worker.Engine.Training;
using TorchSharp;

namespace Platform.Benchmarks.Training;

/// <summary>One rank of the training engine as a job runs it: data, forward, backward, reduction, clipping and update in every step.</summary>
internal sealed class RankTrainer : IDisposable
{
    private readonly RandomTokens tokens;
    private readonly ParallelGroups groups;
    private readonly Trainer trainer;
    private int step;

    /// <summary>Initial weights and random tokens.</summary>
    /// <param name="plan">What is trained.</param>
    /// <param name="world">All ranks; owned by the caller.</param>
    /// <param name="threads">Threads of this process.</param>
    /// <param name="device">Where to compute; null for the CPU.</param>
    public RankTrainer(TrainingPlan plan, ICollectiveWorld world, int threads, torch.Device? device = null)
    {
        TorchThreads.Set(threads);
        tokens = new RandomTokens(plan.Model.VocabSize, (int)(16 * plan.TokensPerStep) + 1);
        groups = ParallelGroups.Create(world, plan.Mesh, plan.Model.TieWordEmbeddings);
        trainer = new Trainer(plan, groups, [tokens.File], device: device);
        trainer.Parameters.Initialise(42);
    }

    /// <summary>Seconds of the next step.</summary>
    public double Step()
    {
        var begun = Stopwatch.GetTimestamp();
        trainer.Step(++step, false, false);
        return Stopwatch.GetElapsedTime(begun).TotalSeconds;
    }

    public void Dispose()
    {
        trainer.Dispose();
        groups.Dispose();
        tokens.Dispose();
    }
}
