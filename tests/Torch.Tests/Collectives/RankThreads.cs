using System.Collections.Concurrent;
using Platform.Torch.Collectives;
using Xunit;

namespace Platform.Torch.Tests.Collectives;

/// <summary>Runs one thread per rank of a world made in this process.</summary>
internal static class RankThreads
{
    /// <summary>Runs the body on every rank and disposes the worlds; a rank that throws aborts its world, and its exception is thrown here.</summary>
    public static void Run(IReadOnlyList<ICollectiveWorld> worlds, Action<ICollectiveWorld> body)
    {
        var failures = Collect(worlds, body);
        if (failures.Count > 0)
            throw new AggregateException(failures.Values.OrderBy(exception => exception is CollectiveAbortedException));
    }

    /// <summary>Like <see cref="Run"/>, but returns what each failed rank threw.</summary>
    public static IReadOnlyDictionary<int, Exception> Collect(IReadOnlyList<ICollectiveWorld> worlds, Action<ICollectiveWorld> body)
    {
        var failures = new ConcurrentDictionary<int, Exception>();
        var threads = worlds.Select(world => new Thread(() =>
        {
            try
            {
                body(world);
            }
            catch (Exception exception)
            {
                failures[world.Rank] = exception;
                world.Abort(exception.Message);
            }
            finally
            {
                world.Dispose();
            }
        })
        { IsBackground = true, Name = $"rank {world.Rank}" }).ToList();
        threads.ForEach(thread => thread.Start());
        foreach (var thread in threads)
            Assert.True(thread.Join(TimeSpan.FromMinutes(2)), $"{thread.Name} does not end: {string.Join("; ", failures.Select(x => $"rank {x.Key}: {x.Value.Message}"))}");
        return failures;
    }

    public static IReadOnlyList<int> All(this ICollectiveWorld world) => [.. Enumerable.Range(0, world.Size)];
}
