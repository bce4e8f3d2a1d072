using Platform.Torch.Native;
using Xunit;

namespace Platform.Torch.Tests.Native;

public sealed class NativeDirectoriesTests
{
    private static readonly NativeDirectories Packages = new("/packages/libtorch", "/packages/torchsharp");

    private static Func<string, bool> Files(params string[] paths) => path => paths.Contains(path);

    [Fact]
    public void The_named_directory_comes_first() =>
        Assert.Equal(
            new NativeDirectories("/opt/torch", "/opt/torch"),
            NativeDirectories.Resolve("/opt/torch", "/app/bin", Packages, _ => true));

    [Fact]
    public void A_directory_beside_the_program_comes_before_the_packages() =>
        Assert.Equal(
            new NativeDirectories("/app/native", "/app/native"),
            NativeDirectories.Resolve(null, "/app/bin/", Packages, _ => true));

    [Fact]
    public void The_packages_are_used_where_they_lie() =>
        Assert.Equal(
            Packages,
            NativeDirectories.Resolve(
                "", "/app/bin", Packages, Files("/packages/libtorch/libtorch_cpu.so", "/packages/torchsharp/libLibTorchSharp.so")));

    [Fact]
    public void A_named_directory_that_lacks_a_library_is_an_error_that_names_the_file()
    {
        var error = Assert.Throws<DllNotFoundException>(() =>
            NativeDirectories.Resolve("/opt/torch", "/app/bin", Packages, path => path != "/opt/torch/libLibTorchSharp.so"));
        Assert.Contains("PLATFORM_LIBTORCH", error.Message);
        Assert.Contains("/opt/torch/libLibTorchSharp.so", error.Message);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Says_where_it_looked_when_there_is_no_library(bool recorded)
    {
        var error = Assert.Throws<DllNotFoundException>(() =>
            NativeDirectories.Resolve(null, "/app/bin", recorded ? Packages : null, _ => false));
        Assert.Contains("/app/native/libtorch_cpu.so", error.Message);
        Assert.Contains(recorded ? "/packages/libtorch/libtorch_cpu.so" : "no package directories", error.Message);
        Assert.Contains("dotnet restore", error.Message);
    }
}
