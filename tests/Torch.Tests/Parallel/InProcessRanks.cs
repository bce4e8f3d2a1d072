using System.Collections.Concurrent;
using System.Runtime.ExceptionServices;
using Platform.Torch.Collectives;
using Platform.Torch.Collectives.Loopback;
using Platform.Torch.Native;
using TorchSharp;

namespace Platform.Torch.Tests.Parallelism;

/// <summary>Runs every rank of a world in this process, one thread each, and rethrows the failure that came first, causes before effects.</summary>
internal static class InProcessRanks
{
    public static IReadOnlyList<T> Run<T>(int size, Func<ICollectiveWorld, T> body, int pendingMessages = 2)
    {
        var worlds = LoopbackWorld.CreateAll(
            size, new CollectiveOptions { Timeout = TimeSpan.FromMinutes(1), PendingMessagesPerEdge = pendingMessages });
        var results = new T[size];
        var failures = new ConcurrentQueue<Exception>();
        var threads = worlds.Select(world => new Thread(() =>
        {
            using (world)
            {
                try
                {
                    TorchThreads.Set(1);
                    using var scope = torch.NewDisposeScope();
                    results[world.Rank] = body(world);
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
        return results;
    }
}
