using Platform.Formats.Checkpoints;
using Platform.Torch.Collectives;

namespace Platform.Worker.Engine.Checkpoints;

/// <summary>Every rank tells rank 0 what it wrote and how long it stood still for it.</summary>
internal static unsafe class CheckpointGathering
{
    /// <summary>Collects on rank 0; all ranks call this together.</summary>
    /// <param name="world">All ranks.</param>
    /// <param name="shard">What this rank wrote, if anything.</param>
    /// <param name="pause">How long this rank stood still.</param>
    /// <returns>On rank 0 all shards and the longest pause; elsewhere none and this rank's own.</returns>
    public static (IReadOnlyList<CheckpointShard> Shards, TimeSpan Pause) Gather(ICollectiveGroup world, CheckpointShard? shard, TimeSpan pause)
    {
        if (world.Rank != 0)
        {
            Send(world, shard?.ToUtf8() ?? [], pause);
            return ([], pause);
        }

        var shards = new List<CheckpointShard>();
        if (shard is not null)
            shards.Add(shard);
        for (var rank = 1; rank < world.Size; rank++)
        {
            var (bytes, other) = Receive(world, rank);
            if (bytes.Length > 0)
                shards.Add(CheckpointShard.Parse(bytes));
            pause = other > pause ? other : pause;
        }

        return (shards, pause);
    }

    private static void Send(ICollectiveGroup world, byte[] bytes, TimeSpan pause)
    {
        var head = stackalloc long[] { bytes.Length, pause.Ticks };
        world.Send(new CollectiveBuffer((nint)head, 2, CollectiveElement.Int64), 0);
        if (bytes.Length == 0)
            return;
        fixed (byte* first = bytes)
            world.Send(new CollectiveBuffer((nint)first, bytes.Length, CollectiveElement.Byte), 0);
    }

    private static (byte[] Bytes, TimeSpan Pause) Receive(ICollectiveGroup world, int rank)
    {
        var head = stackalloc long[2];
        world.Receive(new CollectiveBuffer((nint)head, 2, CollectiveElement.Int64), rank);
        var bytes = new byte[head[0]];
        if (bytes.Length > 0)
        {
            fixed (byte* first = bytes)
                world.Receive(new CollectiveBuffer((nint)first, bytes.Length, CollectiveElement.Byte), rank);
        }

        return (bytes, TimeSpan.FromTicks(head[1]));
    }
}
