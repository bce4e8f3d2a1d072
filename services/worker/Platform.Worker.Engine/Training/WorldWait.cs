using Platform.Torch.Collectives;
using Platform.Torch.Parallel;

namespace Platform.Worker.Engine.Training;

/// <summary>
/// Waits of all ranks for work that some of them do on another thread. Every second they exchange a word, so that a rank
/// that dies is noticed and nobody waits longer than a collective may take, however long the work takes.
/// </summary>
internal static class WorldWait
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);

    /// <summary>Whether no rank's work goes on; all ranks call this together and get the same answer.</summary>
    /// <param name="world">All ranks.</param>
    /// <param name="own">This rank's work.</param>
    public static bool AllDone(ICollectiveGroup world, Task own)
    {
        // A failure leaves by exception here and aborts the world, which the others hear.
        if (own.IsCompleted)
            own.GetAwaiter().GetResult();
        Span<double> unfinished = [own.IsCompleted ? 0 : 1];
        world.AllReduceSum(unfinished);
        return unfinished[0] == 0;
    }

    /// <summary>Waits until every rank's work is done; all ranks call this together.</summary>
    /// <param name="world">All ranks.</param>
    /// <param name="own">This rank's work.</param>
    public static void Until(ICollectiveGroup world, Task own)
    {
        do
            ((IAsyncResult)own).AsyncWaitHandle.WaitOne(Interval);
        while (!AllDone(world, own));
    }
}
