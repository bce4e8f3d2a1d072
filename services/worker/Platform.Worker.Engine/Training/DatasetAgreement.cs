using System.Diagnostics;
using System.Text;
using Platform.Torch.Collectives;

namespace Platform.Worker.Engine.Training;

/// <summary>
/// Rank 0 makes the data set while the others wait. Every second all ranks exchange a word, so that a rank that dies is
/// noticed, one that is asked to stop is heard, and nobody waits longer than a collective may take.
/// </summary>
internal static class DatasetAgreement
{
    private const int HashLength = 64;
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);

    /// <summary>Agrees on the data set.</summary>
    /// <param name="world">All ranks.</param>
    /// <param name="build">Makes the data set and gives its hash; called on rank 0, on a thread of its own.</param>
    /// <param name="stopRequested">This rank was asked to stop.</param>
    /// <returns>The hash; null when a rank was asked to stop.</returns>
    public static string? Reach(ICollectiveGroup world, Func<CancellationToken, string> build, CancellationToken stopRequested)
    {
        if (world.Rank == 0)
            return Lead(world, build, stopRequested);
        while (true)
        {
            if (Exchange(world, null, stopRequested) is { } word)
                return word.Length == 0 ? null : word;
        }
    }

    private static string? Lead(ICollectiveGroup world, Func<CancellationToken, string> build, CancellationToken stopRequested)
    {
        using var cancel = new CancellationTokenSource();
        var result = new TaskCompletionSource<string>();
        var thread = new Thread(() =>
        {
            try
            {
                result.SetResult(build(cancel.Token));
            }
            catch (Exception failure)
            {
                result.SetException(failure);
            }
        })
        { IsBackground = true, Name = "data set" };
        thread.Start();
        try
        {
            while (true)
            {
                var begun = Stopwatch.GetTimestamp();
                while (!result.Task.IsCompleted && !stopRequested.IsCancellationRequested && Stopwatch.GetElapsedTime(begun) < Interval)
                    ((IAsyncResult)result.Task).AsyncWaitHandle.WaitOne(20);

                // A failure leaves by exception here and aborts the world, which the others hear.
                if (Exchange(world, result.Task.IsCompleted ? result.Task.GetAwaiter().GetResult() : null, stopRequested) is { } word)
                    return word.Length == 0 ? null : word;
            }
        }
        finally
        {
            cancel.Cancel();
            thread.Join();
        }
    }

    /// <summary>The hash once rank 0 has it, an empty word if a rank was asked to stop, null to go on waiting.</summary>
    private static unsafe string? Exchange(ICollectiveGroup world, string? hash, CancellationToken stopRequested)
    {
        Span<byte> word = stackalloc byte[HashLength + 1];
        if (hash is not null)
        {
            word[0] = 1;
            if (Encoding.ASCII.GetBytes(hash, word[1..]) != HashLength)
                throw new ArgumentException($"A data set's hash has {HashLength} characters, not {hash.Length}.", nameof(hash));
        }

        long stops = stopRequested.IsCancellationRequested ? 1 : 0;
        if (world.Size > 1)
        {
            fixed (byte* first = word)
                world.Broadcast(new CollectiveBuffer((nint)first, word.Length, CollectiveElement.Byte), 0);
            world.AllReduce(new CollectiveBuffer((nint)(&stops), 1, CollectiveElement.Int64), ReduceOperation.Sum);
        }

        if (stops > 0)
            return "";
        return word[0] == 1 ? Encoding.ASCII.GetString(word[1..]) : null;
    }
}
