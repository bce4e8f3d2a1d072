using Platform.Torch.Native;
using Platform.Torch.Timelines;
using TorchSharp;
using Xunit;

namespace Platform.Torch.Tests.Timelines;

/// <summary>The allocator's view of tensors, which is that of the whole process: other tests allocate too, so sizes are large and bounds wide.</summary>
public sealed class LiveTensorMemoryTests
{
    private const long Size = 512L << 20;
    private const long Others = 128L << 20;

    [Fact]
    public void Sees_a_tensor_while_it_lives_and_remembers_the_highest()
    {
        NativeRuntime.EnsureLoaded();
        using var memory = LiveTensorMemory.Start(interval: null);
        Assert.SkipWhen(memory is null, "The allocator does not tell.");
        using (torch.empty([Size / 4], dtype: torch.ScalarType.Float32))
            Assert.InRange(memory.Sample(), Size - Others, Size + Others);

        Assert.InRange(memory.Sample(), -Others, Others);
        Assert.InRange(memory.Highest, Size - Others, Size + Others);
    }

    [Fact]
    public void Does_not_count_what_was_set_aside()
    {
        NativeRuntime.EnsureLoaded();
        using var memory = LiveTensorMemory.Start(interval: null);
        Assert.SkipWhen(memory is null, "The allocator does not tell.");
        torch.Tensor copy;
        using (memory.SetAside())
        {
            copy = torch.empty([Size / 4], dtype: torch.ScalarType.Float32);
            memory.Sample();
        }

        using (copy)
            Assert.InRange(memory.Sample(), -Others, Others);
        Assert.InRange(memory.Highest, 0, Others);
    }
}
