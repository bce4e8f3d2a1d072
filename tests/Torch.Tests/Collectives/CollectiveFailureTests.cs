using Platform.Torch.Collectives;
using Xunit;

namespace Platform.Torch.Tests.Collectives;

/// <summary>What a rank is told when its peers do not do their part.</summary>
public sealed class CollectiveFailureTests
{
    private static readonly CollectiveOptions Impatient = new() { Timeout = TimeSpan.FromMilliseconds(300) };

    public static TheoryData<Fabric> AllFabrics() => [.. Enum.GetValues<Fabric>()];

    [Theory, MemberData(nameof(AllFabrics))]
    public void A_timeout_names_the_rank_the_operation_and_the_group(Fabric fabric)
    {
        using var over = new CountdownEvent(2);
        var failures = RankThreads.Collect(fabric.Create(4, Impatient), world =>
        {
            if (world.Rank == 0)
            {
                over.Wait(TestContext.Current.CancellationToken);
                return;
            }
            using var group = world.CreateGroup("tensor group 2", [3, 1, 2]);
            using var buffer = HostBuffer.Of(1f, 2f);
            group.Barrier();
            group.AllReduce(buffer.Buffer, ReduceOperation.Sum);
            if (world.Rank == 2)
            {
                over.Wait(TestContext.Current.CancellationToken);
                return;
            }
            try
            {
                group.AllReduce(buffer.Buffer, ReduceOperation.Sum);
            }
            finally
            {
                over.Signal();
            }
        });
        Assert.Equal([1, 3], failures.Keys.Order());
        Assert.All(failures.Values, failure => Assert.Contains("rank 2 has not entered all-reduce #3 of tensor group 2", failure.Message, StringComparison.Ordinal));
        Assert.Contains(failures.Values, failure => failure is CollectiveTimeoutException { MissingRanks: [2] });
    }

    [Theory, MemberData(nameof(AllFabrics))]
    public void A_message_that_never_comes_times_out_by_the_name_of_its_sender(Fabric fabric)
    {
        using var over = new ManualResetEventSlim();
        var failures = RankThreads.Collect(fabric.Create(2, Impatient), world =>
        {
            using var group = world.CreateGroup("pipeline group 1", [0, 1]);
            using var buffer = HostBuffer.Of(1f, 2f);
            if (world.Rank == 0)
            {
                group.Send(buffer.Buffer, 1);
                over.Wait(TestContext.Current.CancellationToken);
                return;
            }
            group.Receive(buffer.Buffer, 0);
            try
            {
                group.Receive(buffer.Buffer, 0);
            }
            finally
            {
                over.Set();
            }
        });
        var timeout = Assert.IsType<CollectiveTimeoutException>(Assert.Single(failures).Value);
        Assert.Contains("rank 0 has not sent message #2 to rank 1 of pipeline group 1", timeout.Message, StringComparison.Ordinal);
    }

    [Theory, MemberData(nameof(AllFabrics))]
    public void Ranks_that_enter_different_operations_are_told_both(Fabric fabric)
    {
        var failures = RankThreads.Collect(fabric.Create(2), world =>
        {
            using var group = world.CreateGroup("data group 0", [0, 1]);
            using var buffer = HostBuffer.Of(1f, 2f);
            if (world.Rank == 0)
                group.AllReduce(buffer.Buffer, ReduceOperation.Sum);
            else
                group.Broadcast(buffer.Buffer, 0);
        });
        Assert.Contains(failures.Values, failure => failure is CollectiveMismatchException);
        Assert.All(failures.Values, failure =>
        {
            Assert.Contains("all-reduce #1 of 2 float32 (Sum)", failure.Message, StringComparison.Ordinal);
            Assert.Contains("broadcast #1 of 2 float32 from member 0", failure.Message, StringComparison.Ordinal);
        });
    }

    [Theory, MemberData(nameof(AllFabrics))]
    public void Ranks_that_enter_with_different_sizes_are_told_both(Fabric fabric)
    {
        var failures = RankThreads.Collect(fabric.Create(3), world =>
        {
            using var group = world.CreateGroup("data group 0", [0, 1, 2]);
            using var buffer = new HostBuffer(world.Rank == 1 ? 5 : 4, CollectiveElement.Float64);
            group.AllReduce(buffer.Buffer, ReduceOperation.Max);
        });
        Assert.Equal(3, failures.Count);
        Assert.Contains(failures.Values, failure => failure is CollectiveMismatchException
            && failure.Message.Contains("of 5 float64 (Max)", StringComparison.Ordinal)
            && failure.Message.Contains("of 4 float64 (Max)", StringComparison.Ordinal));
    }

    [Theory, MemberData(nameof(AllFabrics))]
    public void A_message_of_another_size_is_a_mismatch(Fabric fabric)
    {
        using var over = new ManualResetEventSlim();
        var failures = RankThreads.Collect(fabric.Create(2), world =>
        {
            using var group = world.CreateGroup("pipeline group 0", [0, 1]);
            using var buffer = new HostBuffer(4 + world.Rank, CollectiveElement.Float32);
            if (world.Rank == 0)
            {
                group.Send(buffer.Buffer, 1);
                over.Wait(TestContext.Current.CancellationToken);
                return;
            }
            try
            {
                group.Receive(buffer.Buffer, 0);
            }
            finally
            {
                over.Set();
            }
        });
        var mismatch = Assert.IsType<CollectiveMismatchException>(failures[1]);
        Assert.Contains("rank 1 receives message #1 of 5 float32 where rank 0 sent message #1 of 4 float32", mismatch.Message, StringComparison.Ordinal);
    }

    [Theory, MemberData(nameof(AllFabrics))]
    public void An_abort_wakes_waiters_in_every_group_of_every_rank_with_the_first_reason(Fabric fabric)
    {
        using var waiting = new CountdownEvent(3);
        var failures = RankThreads.Collect(fabric.Create(4), world =>
        {
            using var all = world.CreateGroup("all", world.All());
            using var odd = world.Rank % 2 == 1 ? world.CreateGroup("odd", [1, 3]) : world.CreateGroup("even", [0, 2]);
            all.Barrier();
            if (world.Rank == 0)
            {
                waiting.Wait(TestContext.Current.CancellationToken);
                world.Abort("the loss is not a number");
                world.Abort("a later reason");
                Assert.True(world.Aborted.IsCancellationRequested);
                all.Barrier();
            }
            using var buffer = HostBuffer.Of(1f);
            waiting.Signal();
            if (world.Rank == 2)
                odd.Barrier();
            else if (world.Rank == 1)
                odd.Receive(buffer.Buffer, 1);
            else
                all.AllReduce(buffer.Buffer, ReduceOperation.Sum);
        });
        Assert.Equal(4, failures.Count);
        Assert.All(failures.Values, failure => Assert.Equal("rank 0: the loss is not a number", Assert.IsType<CollectiveAbortedException>(failure).Reason));
    }

    [Theory, MemberData(nameof(AllFabrics))]
    public void A_rank_that_left_is_named_long_before_the_timeout(Fabric fabric)
    {
        var failures = RankThreads.Collect(fabric.Create(3), world =>
        {
            using var group = world.CreateGroup("data group 0", world.All());
            group.Barrier();
            if (world.Rank == 1)
                return;
            group.Barrier();
        });
        Assert.Equal([0, 2], failures.Keys.Order());
        Assert.All(failures.Values, failure => Assert.Contains("rank 1 ", Assert.IsType<CollectiveAbortedException>(failure).Reason, StringComparison.Ordinal));
    }

    [Theory, MemberData(nameof(AllFabrics))]
    public void The_status_between_operations_tells_the_last_one(Fabric fabric)
    {
        RankThreads.Run(fabric.Create(2), world =>
        {
            using var group = world.CreateGroup("data group 0", world.All());
            Assert.Null(group.Status.Operation);
            group.Barrier();
            var status = Assert.Single(world.Status());
            Assert.Equal(("data group 0", 1L, "barrier #1", false), (status.Group, status.Sequence, status.Operation, status.InProgress));
            Assert.Empty(status.WaitingFor);
        });
    }

    [Theory, MemberData(nameof(AllFabrics))]
    public void The_status_of_a_waiting_rank_names_those_who_are_missing(Fabric fabric)
    {
        using var seen = new ManualResetEventSlim();
        RankThreads.Run(fabric.Create(3), world =>
        {
            using var group = world.CreateGroup("data group 0", world.All());
            group.Barrier();
            if (world.Rank == 2)
            {
                Assert.True(seen.Wait(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken));
                group.Barrier();
                return;
            }
            if (world.Rank == 0)
            {
                var watcher = new Thread(() =>
                {
                    if (SpinWait.SpinUntil(() => group.Status is { InProgress: true, WaitingFor: [2] }, TimeSpan.FromSeconds(30)))
                        seen.Set();
                });
                watcher.Start();
                group.Barrier();
                watcher.Join();
                Assert.True(seen.IsSet);
                return;
            }
            group.Barrier();
        });
    }

    [Fact]
    public void Arguments_that_make_no_sense_are_refused_before_anyone_waits()
    {
        using var world = Fabric.Loopback.Create(1)[0];
        using var group = world.CreateGroup("alone", [0]);
        using var buffer = HostBuffer.Of(1f, 2f, 3f);
        Assert.Throws<ArgumentException>(() => group.AllReduce(buffer.Buffer with { Element = CollectiveElement.Int64, Count = 1 }, ReduceOperation.Average));
        Assert.Throws<ArgumentException>(() => group.AllReduce(new CollectiveBuffer(0, 3, CollectiveElement.Byte), ReduceOperation.Sum));
        Assert.Throws<ArgumentException>(() => group.AllGather(buffer.Buffer.Slice(0, 2), buffer.Buffer));
        Assert.Throws<ArgumentOutOfRangeException>(() => group.Broadcast(buffer.Buffer, 1));
        Assert.Throws<ArgumentException>(() => group.Send(buffer.Buffer, 0));
        Assert.Throws<ArgumentException>(() => world.CreateGroup("alone", [0]));
        Assert.Throws<ArgumentException>(() => world.CreateGroup("outside", [0, 1]));
        Assert.Throws<ArgumentException>(() => world.CreateGroup("twice", [0, 0]));
        Assert.Null(world.AbortReason);
        group.AllReduce(buffer.Buffer, ReduceOperation.Average);
        Assert.Equal([1f, 2f, 3f], buffer.ToFloats());
    }
}
