using Platform.Torch.Collectives;
using Xunit;

namespace Platform.Torch.Tests.Collectives;

/// <summary>Every operation of every implementation against the reference, bit for bit.</summary>
public sealed class CollectiveOperationsTests
{
    private static readonly long[] Counts = [0, 1, 7, 1000, 9_001];

    public static TheoryData<Fabric, int> Layouts()
    {
        var data = new TheoryData<Fabric, int>();
        foreach (var fabric in Enum.GetValues<Fabric>())
            foreach (var size in (int[])[1, 2, 3, 4, 8])
                data.Add(fabric, size);
        return data;
    }

    public static TheoryData<Fabric, int> LayoutsWithPeers() => [.. Layouts().Where(row => row.Data.Item2 > 1)];

    [Theory, MemberData(nameof(Layouts))]
    public void Every_reduction_folds_in_rank_order_and_gives_every_rank_the_same_bits(Fabric fabric, int size)
    {
        RankThreads.Run(fabric.Create(size, Fabrics.SmallPieces), world =>
        {
            using var group = world.CreateGroup("world", world.All());
            foreach (var (element, operation) in Reductions())
            {
                foreach (var count in Counts)
                {
                    var inputs = Cases.Inputs(size, count, element);
                    var expected = Cases.Reduction(size, count, element, operation);
                    using var buffer = HostBuffer.Of(inputs[group.Rank], element);
                    group.AllReduce(buffer.Buffer, operation);
                    AssertSame(expected, buffer.ToBytes(), $"all-reduce {operation} of {count} {element}");
                }
            }
        });
    }

    [Theory, MemberData(nameof(Layouts))]
    public void Reduce_scatter_leaves_each_rank_its_part_of_the_reduction(Fabric fabric, int size)
    {
        RankThreads.Run(fabric.Create(size, Fabrics.SmallPieces), world =>
        {
            using var group = world.CreateGroup("world", world.All());
            foreach (var (element, operation) in Reductions())
            {
                foreach (var count in Counts)
                {
                    var inputs = Cases.Inputs(size, count * size, element);
                    var bytes = (int)count * element.SizeBytes();
                    var expected = Cases.Reduction(size, count * size, element, operation).AsSpan(group.Rank * bytes, bytes).ToArray();
                    using var input = HostBuffer.Of(inputs[group.Rank], element);
                    using var output = new HostBuffer(count, element);
                    group.ReduceScatter(input.Buffer, output.Buffer, operation);
                    AssertSame(expected, output.ToBytes(), $"reduce-scatter {operation} of {count} {element}");
                    AssertSame(inputs[group.Rank], input.ToBytes(), "the input of a reduce-scatter");

                    var inPlace = input.Buffer.Slice(group.Rank * count, count);
                    group.ReduceScatter(input.Buffer, inPlace, operation);
                    AssertSame(expected, input.ToBytes().AsSpan(group.Rank * bytes, bytes).ToArray(), $"reduce-scatter in place of {count} {element}");
                }
            }
        });
    }

    [Theory, MemberData(nameof(Layouts))]
    public void All_gather_concatenates_in_rank_order(Fabric fabric, int size)
    {
        RankThreads.Run(fabric.Create(size, Fabrics.SmallPieces), world =>
        {
            using var group = world.CreateGroup("world", world.All());
            foreach (var element in Enum.GetValues<CollectiveElement>())
            {
                foreach (var count in Counts)
                {
                    var inputs = Cases.Inputs(size, count, element);
                    var expected = inputs.SelectMany(x => x).ToArray();
                    using var input = HostBuffer.Of(inputs[group.Rank], element);
                    using var output = new HostBuffer(count * size, element);
                    group.AllGather(input.Buffer, output.Buffer);
                    AssertSame(expected, output.ToBytes(), $"all-gather of {count} {element}");

                    using var inPlace = new HostBuffer(count * size, element);
                    var own = inPlace.Buffer.Slice(group.Rank * count, count);
                    group.Broadcast(own, root: 0);
                    group.AllGather(own, inPlace.Buffer);
                    Assert.All(inPlace.ToBytes(), x => Assert.Equal(0, x));
                }
            }
        });
    }

    [Theory, MemberData(nameof(Layouts))]
    public void Broadcast_copies_the_root_s_buffer_to_every_rank(Fabric fabric, int size)
    {
        RankThreads.Run(fabric.Create(size, Fabrics.SmallPieces), world =>
        {
            using var group = world.CreateGroup("world", world.All());
            foreach (var element in Enum.GetValues<CollectiveElement>())
            {
                foreach (var count in Counts)
                {
                    var root = (int)(count % size);
                    var inputs = Cases.Inputs(size, count, element);
                    using var buffer = HostBuffer.Of(inputs[group.Rank], element);
                    group.Broadcast(buffer.Buffer, root);
                    AssertSame(inputs[root], buffer.ToBytes(), $"broadcast of {count} {element} from {root}");
                }
            }
            group.Barrier();
        });
    }

    [Theory, MemberData(nameof(LayoutsWithPeers))]
    public void Messages_arrive_whole_and_in_order_and_paired_exchanges_do_not_deadlock(Fabric fabric, int size)
    {
        RankThreads.Run(fabric.Create(size, Fabrics.SmallPieces), world =>
        {
            using var group = world.CreateGroup("pipeline group 0", world.All());
            var next = (group.Rank + 1) % size;
            var previous = (group.Rank + size - 1) % size;
            foreach (var count in Counts)
            {
                var inputs = Cases.Inputs(size, count, CollectiveElement.Float32);
                using var outgoing = HostBuffer.Of(inputs[group.Rank], CollectiveElement.Float32);
                using var incoming = new HostBuffer(count, CollectiveElement.Float32);
                group.SendReceive(outgoing.Buffer, next, incoming.Buffer, previous);
                AssertSame(inputs[previous], incoming.ToBytes(), $"a message of {count} elements around the ring");
            }

            // One message is in flight in each direction, and each edge holds one, before anybody receives.
            using var ping = HostBuffer.Of(group.Rank, 1, 2, 3);
            using var pong = new HostBuffer(4, CollectiveElement.Float32);
            group.Send(ping.Buffer, next);
            group.Barrier();
            group.Receive(pong.Buffer, previous);
            Assert.Equal(previous, pong.ToFloats()[0]);
        });
    }

    /// <summary>The receiver takes nothing before the sender is done with everything, messages larger than their way included.</summary>
    [Theory]
    [InlineData(Fabric.Loopback)]
    [InlineData(Fabric.SharedMemory)]
    [InlineData(Fabric.Tcp)]
    public void A_sender_waits_for_nobody_while_as_many_messages_are_pending_as_may_be(Fabric fabric)
    {
        const int messages = 9;
        const int count = 300_000;
        using var sentAll = new ManualResetEventSlim();
        RankThreads.Run(fabric.Create(2, Fabrics.SmallPieces with { PendingMessagesPerEdge = messages }), world =>
        {
            using var group = world.CreateGroup("pipeline group 0", world.All());
            if (group.Rank == 0)
            {
                for (var i = 0; i < messages; i++)
                {
                    using var message = HostBuffer.Of([.. Enumerable.Range(i, count).Select(value => (float)value)]);
                    group.Send(message.Buffer, 1);
                }

                sentAll.Set();
                group.Barrier();
                return;
            }

            Assert.True(sentAll.Wait(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken), "The sender waits for the receiver.");
            using var received = new HostBuffer(count, CollectiveElement.Float32);
            for (var i = 0; i < messages; i++)
            {
                group.Receive(received.Buffer, 0);
                Assert.Equal(Enumerable.Range(i, count).Select(value => (float)value), received.ToFloats());
            }

            group.Barrier();
        });
    }

    private static IEnumerable<(CollectiveElement Element, ReduceOperation Operation)> Reductions() =>
        from element in Enum.GetValues<CollectiveElement>()
        from operation in Enum.GetValues<ReduceOperation>()
        where operation != ReduceOperation.Average || element.IsFloatingPoint()
        select (element, operation);

    private static void AssertSame(byte[] expected, byte[] actual, string what) =>
        Assert.True(expected.AsSpan().SequenceEqual(actual), $"{what}: the bits differ from the reference at byte {expected.AsSpan().CommonPrefixLength(actual)}");
}
