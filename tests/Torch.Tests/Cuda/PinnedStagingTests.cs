using Platform.Torch.Cuda;
using Xunit;

namespace Platform.Torch.Tests.Cuda;

/// <summary>Host data on its way to a device, over a driver of threads.</summary>
public sealed unsafe class PinnedStagingTests
{
    [Fact]
    public void What_was_given_arrives_although_its_memory_changes_at_once()
    {
        using var device = FakeGpu.Open();
        using var staging = new PinnedStaging(device, slots: 2);
        var random = new Random(5);
        var buffer = new byte[5000];
        for (var round = 0; round < 20; round++)
        {
            var length = random.Next(buffer.Length);
            random.NextBytes(buffer.AsSpan(0, length));
            var expected = buffer.AsSpan(0, length).ToArray();
            var there = device.Allocate(Math.Max(1, length));
            staging.Copy(buffer.AsSpan(0, length), there);
            Array.Clear(buffer);
            using var back = new PinnedMemory(device, Math.Max(1, length));
            back.CopyFrom(there, length);
            Assert.Equal(expected, back.Span[..length].ToArray());
            device.Driver.MemoryFree(there);
        }
    }

    [Fact]
    public void Memory_is_not_used_again_before_its_copy_is_done_and_other_copies_do_not_wait_for_it()
    {
        using var device = FakeGpu.Open();
        var stream = device.CreateStream();
        using var gate = new ManualResetEventSlim();
        using (var staging = new PinnedStaging(device, slots: 2, stream))
        {
            var there = Enumerable.Range(0, 3).Select(_ => device.Allocate(8)).ToArray();
            FakeGpu.Enqueue(stream, gate.Wait);
            staging.Copy([1, 1, 1, 1, 1, 1, 1, 1], there[0]);
            staging.Copy([2, 2, 2, 2, 2, 2, 2, 2], there[1]);
            var thread = new Thread(() => staging.Copy([3, 3, 3, 3, 3, 3, 3, 3], there[2]));
            thread.Start();
            thread.Join(TimeSpan.FromMilliseconds(20));
            gate.Set();
            thread.Join();
            device.Driver.StreamSynchronize(stream);
            for (var i = 0; i < there.Length; i++)
            {
                Assert.Equal(Enumerable.Repeat((byte)(i + 1), 8), new Span<byte>((void*)there[i], 8).ToArray());
                device.Driver.MemoryFree(there[i]);
            }
        }

        device.Driver.StreamDestroy(stream);
    }
}
