using Platform.Torch.Collectives;
using Xunit;

namespace Platform.Torch.Tests.Collectives;

/// <summary>Receives that begin before anybody waits for them.</summary>
public sealed class PostedReceiveTests
{
    private const long Large = 3 << 20;

    [Theory, InlineData(Fabric.Loopback), InlineData(Fabric.SharedMemory), InlineData(Fabric.Tcp)]
    public void Messages_arrive_in_order_whether_or_not_their_receive_was_begun(Fabric fabric)
    {
        var seed = Environment.TickCount;
        TestContext.Current.TestOutputHelper?.WriteLine($"Seed {seed}");
        var random = new Random(seed);
        var sizes = Enumerable.Range(0, 40).Select(_ => random.Next(3) switch { 0 => random.Next(100), 1 => random.Next(5_000), _ => random.Next(200_000) }).ToArray();
        var posted = sizes.Select(_ => random.Next(2) == 0).ToArray();
        RankThreads.Run(fabric.Create(2, Fabrics.SmallPieces), world =>
        {
            using var group = world.CreateGroup("pipeline", world.All());
            for (var i = 0; i < sizes.Length; i++)
            {
                // Both ranks send and receive, so that posted receives stand beside sends to the same peer.
                using var mine = HostBuffer.Of([.. Enumerable.Range(0, sizes[i]).Select(at => (float)((at * 7) + i + group.Rank))]);
                using var theirs = new HostBuffer(sizes[i], CollectiveElement.Float32);
                if (posted[i])
                    group.PostReceive(theirs.Buffer, 1 - group.Rank);
                group.Send(mine.Buffer, 1 - group.Rank);
                group.Receive(theirs.Buffer, 1 - group.Rank);
                using var expected = HostBuffer.Of([.. Enumerable.Range(0, sizes[i]).Select(at => (float)((at * 7) + i + 1 - group.Rank))]);
                Assert.Equal(expected.ToBytes(), theirs.ToBytes());
            }

            group.Barrier();
        });
    }

    [Theory, InlineData(Fabric.SharedMemory), InlineData(Fabric.Tcp)]
    public void A_message_that_no_pipe_holds_moves_while_its_receiver_does_something_else(Fabric fabric)
    {
        using var begun = new ManualResetEventSlim();
        using var secondIsSent = new ManualResetEventSlim();
        var options = Fabrics.SmallPieces with { PendingMessagesPerEdge = 1 };
        RankThreads.Run(fabric.Create(2, options), world =>
        {
            using var group = world.CreateGroup("pipeline", world.All());
            using var message = new HostBuffer(Large, CollectiveElement.Float32);
            using var first = new HostBuffer(1, CollectiveElement.Float32);
            if (group.Rank == 0)
            {
                // The third message waits until the second is out of the sender's hands, which takes the receiver.
                group.Send(first.Buffer, 1);
                Assert.True(begun.Wait(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken));
                group.Send(message.Buffer, 1);
                group.Send(message.Buffer, 1);
                secondIsSent.Set();
                group.Barrier();
            }
            else
            {
                group.Receive(first.Buffer, 0);
                group.PostReceive(message.Buffer, 0);
                begun.Set();
                Assert.True(secondIsSent.Wait(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken), "The message waits for its receiver.");
                group.Receive(message.Buffer, 0);
                group.Receive(message.Buffer, 0);
                group.Barrier();
            }
        });
    }

    [Theory, InlineData(Fabric.SharedMemory), InlineData(Fabric.Tcp)]
    public void A_sender_that_leaves_fails_a_receive_that_was_begun(Fabric fabric)
    {
        var failed = false;
        var worlds = fabric.Create(2, Fabrics.SmallPieces);
        RankThreads.Run(worlds, world =>
        {
            using var group = world.CreateGroup("pipeline", world.All());
            using var message = new HostBuffer(Large, CollectiveElement.Float32);
            using var first = new HostBuffer(1, CollectiveElement.Float32);
            if (group.Rank == 0)
            {
                group.Send(first.Buffer, 1);
                group.Receive(first.Buffer, 1);
                return;
            }

            group.Receive(first.Buffer, 0);
            group.PostReceive(message.Buffer, 0);
            group.Send(first.Buffer, 0);
            var lost = Assert.ThrowsAny<CollectiveException>(() => group.Receive(message.Buffer, 0));
            Assert.Contains("rank 0", lost.Message, StringComparison.Ordinal);
            failed = true;
        });
        Assert.True(failed);
    }
}
