using System.Collections.Concurrent;
using System.Runtime.ExceptionServices;
using Microsoft.Extensions.Logging.Abstractions;
using Platform.Core.Gangs;
using Platform.Core.Jobs;
using Platform.Torch.Collectives;
using Platform.Torch.Collectives.Loopback;
using Platform.Torch.Native;
using Platform.Worker.Engine.Training;

namespace Platform.Worker.Engine.Tests;

/// <summary>Runs the whole session of every rank of a job in this process, one thread each.</summary>
internal static class Gang
{
    public static TrainingJobSpec Job(string data, int tensor, int pipeline, int data_, Precision precision, int steps) => new()
    {
        Name = "tiny",
        Model = new ModelSpec
        {
            HiddenSize = 32,
            IntermediateSize = 48,
            NumHiddenLayers = 5,
            NumAttentionHeads = 8,
            NumKeyValueHeads = 4,
            MaxPositionEmbeddings = 32,
        },
        Data = new DataSpec { Source = [data], SequenceLength = 12, EvalFraction = 0.1 },
        Parallelism = new ParallelismSpec { Tensor = tensor, Pipeline = pipeline, Data = data_, MicroBatchSize = 1 },
        Training = new TrainingSpec { Steps = steps, GlobalBatchSize = 4, Precision = precision, Seed = 11, EvalEvery = 10 },
        Optimizer = new OptimizerSpec { Lr = 2e-3, MinLr = 2e-4, WarmupSteps = Math.Min(5, steps), GradClip = 1 },
        Checkpoint = new CheckpointSpec { EverySteps = 0 },
    };

    public static RankLaunch Launch(TrainingJobSpec spec, string artifacts, int rank, int attempt = 1, string? resumeFrom = null) => new()
    {
        Gang = "jobs/tiny",
        Attempt = attempt,
        Rank = rank,
        WorldSize = spec.Parallelism.WorldSize,
        Node = "here",
        Devices = [rank],
        DeviceMilli = 1000,
        DeviceMemoryBytes = 1 << 30,
        ComputeThreads = 1,
        Token = "secret",
        AgentSocket = "",
        AdvertisedHost = "localhost",
        SharedMemoryDirectory = "",
        ArtifactRoot = artifacts,
        Kind = WorkloadKind.Training,
        Workload = "",
        ResumeFrom = resumeFrom,
    };

    /// <summary>Runs all ranks and gives how they ended; rethrows the failure that caused the others.</summary>
    public static IReadOnlyList<TrainingOutcome> Run(
        TrainingJobSpec spec, string artifacts, RecordingHost host, int attempt = 1, string? resumeFrom = null,
        Func<ICollectiveWorld, ICollectiveWorld>? decorate = null, int? ranks = null)
    {
        var worlds = LoopbackWorld.CreateAll(ranks ?? spec.Parallelism.WorldSize, new CollectiveOptions { Timeout = TimeSpan.FromMinutes(2) });
        var outcomes = new TrainingOutcome[worlds.Count];
        var failures = new ConcurrentQueue<Exception>();
        var threads = worlds.Select(world => new Thread(() =>
        {
            using (world)
            {
                try
                {
                    TorchThreads.Set(1);
                    var launch = Launch(spec, artifacts, world.Rank, attempt, resumeFrom) with { WorldSize = world.Size };
                    outcomes[world.Rank] = new TrainingSession(decorate?.Invoke(world) ?? world, launch, spec, host, NullLogger.Instance).Run();
                }
                catch (Exception failure)
                {
                    failures.Enqueue(failure);
                    world.Abort(failure.Message);
                }
            }
        })).ToList();
        threads.ForEach(thread => thread.Start());
        threads.ForEach(thread => thread.Join());
        if (failures.OrderBy(failure => failure is CollectiveException).FirstOrDefault() is { } first)
            ExceptionDispatchInfo.Throw(first);
        return outcomes;
    }

    /// <summary>A text whose bytes are far from uniform, the same each time.</summary>
    public static string SomeText(int length)
    {
        var random = new Random(5);
        string[] words = ["gets", "the", "value", "of", "a", "tensor", "returns", "element", "that", "is", "not", "null"];
        var text = new System.Text.StringBuilder();
        while (text.Length < length)
            text.Append(words[Math.Min(random.Next(words.Length), random.Next(words.Length))]).Append(random.Next(9) == 0 ? ".\n" : " ");
        return text.ToString();
    }
}
