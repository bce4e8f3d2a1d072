using Platform.Core.Cluster;
using Platform.Worker.Agent.Core;
using Xunit;

namespace Platform.Worker.Agent.Tests.Core;

public sealed class GpuListTests
{
    [Fact]
    public void Reads_every_GPU_with_its_memory_in_order_of_the_index() => Assert.Equal(
        [new DeviceInfo(0, "cuda", 143771L << 20), new DeviceInfo(1, "cuda", 81559L << 20)],
        GpuList.Read("1, NVIDIA H100 80GB HBM3, 81559\n0, NVIDIA H200, 143771\n"));

    [Theory]
    [InlineData("No devices were found")]
    [InlineData("0, NVIDIA H200, [N/A]")]
    [InlineData("x, NVIDIA H200, 1")]
    public void Shows_a_line_that_is_none(string line) =>
        Assert.Contains(line, Assert.Throws<FormatException>(() => GpuList.Read(line)).Message, StringComparison.Ordinal);
}
