using Platform.Torch.Native;
using TorchSharp;
using Xunit;

namespace Platform.Torch.Tests.Native;

public sealed class NativeRuntimeTests
{
    [Fact]
    public void The_binding_is_the_original_exactly_where_the_system_provides_the_version()
    {
        var runtime = NativeRuntime.EnsureLoaded();
        var provides = SystemLibraries.LibstdcxxProvides(BindingLibrary.OptionalSymbol, BindingLibrary.OptionalVersion);

        Assert.Equal(!provides, runtime.BindingIsRelaxed);
        Assert.Equal(
            provides, runtime.BindingPath == Path.Combine(runtime.Directories.LibTorchSharp, NativeDirectories.BindingFile));
    }

    [Fact]
    public void Each_library_is_mapped_from_the_one_place_it_was_found_in()
    {
        var runtime = NativeRuntime.EnsureLoaded();
        using var one = torch.ones(1); // TorchSharp's own loader has run after this.

        var mapped = File.ReadLines("/proc/self/maps")
            .Select(line => line[(line.LastIndexOf(' ') + 1)..])
            .Where(path => path.Contains("libtorch_cpu") || path.Contains("LibTorchSharp-") || path.Contains("libLibTorchSharp"))
            .Distinct()
            .Order(StringComparer.Ordinal)
            .ToList();
        Assert.Equal(
            new[] { Path.Combine(runtime.Directories.Libtorch, "libtorch_cpu.so"), runtime.BindingPath }.Order(StringComparer.Ordinal),
            mapped);
    }

    [Fact]
    public void No_native_library_is_copied_beside_the_program() =>
        Assert.Empty(Directory.EnumerateFiles(AppContext.BaseDirectory, "*torch*.so*", SearchOption.AllDirectories));

    [Fact]
    public void Knows_a_version_that_every_libstdcxx_has_and_one_that_none_has()
    {
        Assert.True(SystemLibraries.LibstdcxxProvides("_Znwm", "GLIBCXX_3.4"));
        Assert.False(SystemLibraries.LibstdcxxProvides("_Znwm", "GLIBCXX_9.9.9"));
    }

    [Fact]
    public void Refuses_less_than_one_thread() =>
        Assert.Throws<ArgumentOutOfRangeException>(() => TorchThreads.Set(0));
}
