using Platform.Torch.Collectives;
using Platform.Torch.Collectives.Loopback;
using Platform.Torch.Collectives.Nccl;
using Platform.Torch.Tests.Collectives;
using Xunit;

namespace Platform.Torch.Tests.Cuda;

/// <summary>Groups of CUDA devices over a driver and an NCCL of threads, which have the C interfaces of the real ones.</summary>
public sealed class NcclWorldTests
{
    private static readonly long[] Counts = [0, 1, 7, 1000];

    public static TheoryData<int> Sizes() => [1, 2, 3, 8];

    [Theory, MemberData(nameof(Sizes))]
    public void Every_collective_of_device_memory_gives_what_the_reference_gives(int size) => RankThreads.Run(Worlds(size), world =>
    {
        using var group = world.CreateGroup("world", world.All());
        foreach (var element in Enum.GetValues<CollectiveElement>())
        {
            foreach (var count in Counts)
            {
                var inputs = Cases.Inputs(size, count * size, element);
                var part = (int)count * element.SizeBytes();
                var sum = Cases.Reduction(size, count * size, element, ReduceOperation.Sum);
                using var buffer = HostBuffer.Of(inputs[group.Rank], element);
                using var output = new HostBuffer(count, element);
                group.ReduceScatter(OnDevice(buffer), OnDevice(output), ReduceOperation.Sum);
                Assert.Equal(sum.AsSpan(group.Rank * part, part).ToArray(), output.ToBytes());

                using var gathered = new HostBuffer(count * size, element);
                group.AllGather(OnDevice(output), OnDevice(gathered));
                Assert.Equal(sum, gathered.ToBytes());

                group.AllReduce(OnDevice(buffer), ReduceOperation.Max);
                Assert.Equal(Cases.Reduction(size, count * size, element, ReduceOperation.Max), buffer.ToBytes());

                using var told = HostBuffer.Of(inputs[group.Rank], element);
                group.Broadcast(OnDevice(told), size - 1);
                Assert.Equal(inputs[size - 1], told.ToBytes());
            }
        }
    });

    [Fact]
    public void Host_memory_passes_by_the_group_below() => RankThreads.Run(Worlds(3), world =>
    {
        using var group = world.CreateGroup("world", world.All());
        using var buffer = HostBuffer.Of(world.Rank, 1);
        group.AllReduce(buffer.Buffer, ReduceOperation.Sum);
        group.Barrier();
        Assert.Equal([3, 3], buffer.ToFloats());
    });

    [Fact]
    public void A_receive_begins_before_it_is_waited_for_and_ends_in_the_buffer_it_began_with() => RankThreads.Run(Worlds(2), world =>
    {
        using var group = world.CreateGroup("pipeline group 0", world.All());
        using var message = HostBuffer.Of(7, 8);
        using var first = new HostBuffer(2, CollectiveElement.Float32);
        using var second = new HostBuffer(2, CollectiveElement.Float32);
        if (world.Rank == 0)
        {
            for (var i = 0; i < 2; i++)
                group.Send(OnDevice(message), 1);
            group.Barrier();
            return;
        }

        group.PostReceive(OnDevice(first), 0);
        group.Receive(OnDevice(first), 0);
        group.PostReceive(OnDevice(second), 0);
        Assert.True(SpinWait.SpinUntil(() => second.ToFloats()[1] == 8, TimeSpan.FromSeconds(30)), "Nothing came before it was waited for.");
        group.Receive(OnDevice(second), 0);
        group.Barrier();
    });

    [Fact]
    public void Messages_are_copied_away_before_anybody_receives_and_arrive_in_order() => RankThreads.Run(Worlds(2), world =>
    {
        using var group = world.CreateGroup("pipeline group 0", world.All());
        using var outgoing = HostBuffer.Of(world.Rank, 1);
        using var incoming = new HostBuffer(2, CollectiveElement.Float32);
        if (world.Rank == 1)
        {
            // Both edges exist before the first message may wait for its receiver.
            group.Receive(OnDevice(incoming), 0);
            group.Send(OnDevice(outgoing), 0);
        }
        else
        {
            group.Send(OnDevice(outgoing), 1);
            group.Receive(OnDevice(incoming), 1);
        }

        for (var round = 2; round < 6; round++)
        {
            using var message = HostBuffer.Of(world.Rank, round);
            group.Send(OnDevice(message), 1 - world.Rank);
            group.Barrier();
            group.Receive(OnDevice(incoming), 1 - world.Rank);
            Assert.Equal([1 - world.Rank, round], incoming.ToFloats());
        }
    });

    [Fact]
    public void A_thread_beside_the_one_that_computes_gets_its_result_before_the_call_returns() => RankThreads.Run(Worlds(2), world =>
    {
        using var group = world.CreateGroup("data group 0", world.All());
        using var buffer = HostBuffer.Of(world.Rank + 1, 5);
        Exception? failure = null;
        var beside = new Thread(() =>
        {
            try
            {
                group.AllReduce(OnDevice(buffer), ReduceOperation.Sum);
                Assert.Equal([3, 10], buffer.ToFloats());
            }
            catch (Exception exception)
            {
                failure = exception;
            }
        });
        beside.Start();
        beside.Join();
        Assert.Null(failure);
    });

    [Fact]
    public void A_rank_that_never_enters_ends_the_world_by_the_name_of_what_waits()
    {
        using var over = new ManualResetEventSlim();
        var options = new CollectiveOptions { Timeout = TimeSpan.FromMilliseconds(300) };
        var failures = RankThreads.Collect(Worlds(2, options), world =>
        {
            using var group = world.CreateGroup("tensor group 2", world.All());
            using var buffer = HostBuffer.Of(1, 2);
            group.AllReduce(OnDevice(buffer), ReduceOperation.Sum);
            if (world.Rank == 1)
            {
                world.Aborted.WaitHandle.WaitOne();
                over.Wait(TestContext.Current.CancellationToken);
                return;
            }

            try
            {
                group.AllReduce(OnDevice(buffer), ReduceOperation.Sum);
                group.AllReduce(OnDevice(buffer), ReduceOperation.Sum);
            }
            finally
            {
                over.Set();
            }
        });
        var failure = Assert.IsType<CollectiveAbortedException>(Assert.Single(failures).Value);
        Assert.Contains("all-reduce #2 of tensor group 2 is not done on rank 0 within 0.3 s", failure.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void A_failure_that_NCCL_notices_ends_the_world_with_its_words()
    {
        var failures = RankThreads.Collect(Worlds(2), world =>
        {
            using var group = world.CreateGroup("tensor group 0", world.All());
            using var buffer = new HostBuffer(world.Rank + 1, CollectiveElement.Float32);
            group.AllReduce(OnDevice(buffer), ReduceOperation.Sum);
            group.AllReduce(OnDevice(buffer), ReduceOperation.Sum);
        });
        Assert.NotEmpty(failures);
        Assert.All(failures.Values, failure => Assert.Contains(
            "NCCL failed in tensor group 0: internal error (3): net.cc:1 the fabric said no", failure.Message, StringComparison.Ordinal));
    }

    [Fact]
    public unsafe void What_the_device_has_not_finished_is_known_in_order()
    {
        using var device = FakeGpu.Open();
        using var pending = new PendingOperations(device, TimeProvider.System);
        using var gate = new ManualResetEventSlim();
        var stream = device.CreateStream();
        FakeGpu.Enqueue(stream, () => gate.Wait(TestContext.Current.CancellationToken));
        for (var number = 1; number <= 2; number++)
        {
            var done = pending.RentEvent();
            device.Driver.EventRecord(done, stream);
            pending.Add(stream, OperationSignature.Collective(CollectiveKind.AllReduce, number, 5, CollectiveElement.Float32, ReduceOperation.Sum, 0), null, done);
        }

        Assert.Equal("all-reduce #1", pending.Oldest()?.Signature.Name);
        gate.Set();
        device.Driver.StreamSynchronize(stream);
        Assert.Null(pending.Oldest());
        device.Driver.StreamDestroy(stream);
    }

    [Fact]
    public void A_machine_without_the_libraries_is_told_what_is_missing()
    {
        Assert.SkipWhen(File.Exists("/usr/lib/x86_64-linux-gnu/libcuda.so.1"), "This machine has a CUDA driver.");
        Assert.Contains("libcuda.so.1, which the NVIDIA driver installs, cannot be loaded", Assert.Throws<Torch.Cuda.CudaException>(() => Torch.Cuda.CudaDevice.Count()).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_device_says_what_it_is_and_refuses_what_it_cannot_give()
    {
        using var device = FakeGpu.Open();
        Assert.Equal("Fake 70", device.Name);
        Assert.Equal(new Version(9, 0), device.ComputeCapability);
        Assert.Equal(FakeGpu.MemoryBytes / 4, device.Memory().FreeBytes);
        Assert.Contains("There is no CUDA device 2; this process sees 2.", Assert.Throws<Torch.Cuda.CudaException>(() => new Torch.Cuda.CudaDevice(FakeGpu.Driver, 2)).Message, StringComparison.Ordinal);
        Assert.Contains("out of memory", Assert.Throws<Torch.Cuda.CudaException>(() => device.Allocate(FakeGpu.MemoryBytes + 1)).Message, StringComparison.Ordinal);

        using var there = new Torch.Cuda.PinnedMemory(device, 64);
        using var back = new Torch.Cuda.PinnedMemory(device, 64);
        new Random(3).NextBytes(there.Span);
        var memory = device.Allocate(64);
        there.CopyTo(memory, 64);
        back.CopyFrom(memory, 64);
        Assert.True(there.Span.SequenceEqual(back.Span));
        unsafe
        {
            device.Driver.MemoryFree(memory);
        }
    }

    private static CollectiveBuffer OnDevice(HostBuffer buffer) => buffer.Buffer with { Space = MemorySpace.Device };

    private static IReadOnlyList<ICollectiveWorld> Worlds(int size, CollectiveOptions? options = null)
    {
        options ??= new CollectiveOptions { Timeout = TimeSpan.FromSeconds(30) };
        var host = new CollectiveOptions { Timeout = TimeSpan.FromSeconds(30) };
        return [.. LoopbackWorld.CreateAll(size, host).Select(world => new NcclWorld(world, FakeGpu.Open(), FakeNccl.Library, options, TimeProvider.System))];
    }
}
