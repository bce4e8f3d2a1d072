using Platform.Torch.Native;
using Xunit;

namespace Platform.Torch.Tests.Native;

public sealed class BindingLibraryTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("platform-binding-").FullName;

    private static string Shipped =>
        Path.Combine(NativeRuntime.EnsureLoaded().Directories.LibTorchSharp, NativeDirectories.BindingFile);

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void A_system_with_the_version_loads_the_original_untouched()
    {
        var choice = BindingLibrary.Choose(Shipped, systemProvidesVersion: true);

        Assert.Equal(new BindingChoice.Original(Shipped), choice);
        Assert.Equal(Shipped, BindingLibrary.Materialise(choice, () => throw new InvalidOperationException("no copy is needed")));
    }

    [Fact]
    public void A_system_without_the_version_loads_a_copy_that_differs_in_one_byte()
    {
        var choice = BindingLibrary.Choose(Shipped, systemProvidesVersion: false);
        var path = BindingLibrary.Materialise(choice, () => _directory);

        Assert.Equal(_directory, Path.GetDirectoryName(path));
        var (original, copy) = (File.ReadAllBytes(Shipped), File.ReadAllBytes(path));
        Assert.Equal(1, original.Zip(copy).Count(pair => pair.First != pair.Second));
        Assert.True(ElfVersionNeeds.Read(copy).Single(need => need.Version == BindingLibrary.OptionalVersion).IsWeak);
    }

    [Fact]
    public void A_damaged_copy_is_replaced()
    {
        var choice = BindingLibrary.Choose(Shipped, systemProvidesVersion: false);
        var path = BindingLibrary.Materialise(choice, () => _directory);
        var good = File.ReadAllBytes(path);
        File.WriteAllBytes(path, good.AsSpan(0, 1000));

        Assert.Equal(path, BindingLibrary.Materialise(choice, () => _directory));
        Assert.Equal(good, File.ReadAllBytes(path));
    }

    [Fact]
    public void Many_at_once_make_one_complete_copy_and_leave_nothing_else()
    {
        var choice = BindingLibrary.Choose(Shipped, systemProvidesVersion: false);
        var paths = new string[8];
        System.Threading.Tasks.Parallel.For(0, paths.Length, i => paths[i] = BindingLibrary.Materialise(choice, () => _directory));

        Assert.Single(paths.Distinct());
        Assert.Equal([paths[0]], Directory.GetFiles(_directory));
    }

    [Theory]
    [InlineData("PLATFORM_NATIVE_CACHE", "/chosen", "/chosen")]
    [InlineData("XDG_CACHE_HOME", "/cache", "/cache/platform/native")]
    [InlineData("HOME", "/home/someone", "/home/someone/.cache/platform/native")]
    public void The_copy_goes_to_the_users_cache(string variable, string value, string expected) =>
        Assert.Equal(expected, BindingLibrary.CacheDirectory(name => name == variable ? value : null));

    [Fact]
    public void Says_which_variable_to_set_when_there_is_no_place_for_the_copy() =>
        Assert.Contains("PLATFORM_NATIVE_CACHE", Assert.Throws<InvalidOperationException>(() => BindingLibrary.CacheDirectory(_ => null)).Message);
}
