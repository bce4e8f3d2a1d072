using Platform.Torch.Native;
using Xunit;

namespace Platform.Torch.Tests.Native;

public sealed class ElfVersionNeedsTests
{
    private static byte[] ShippedBinding() =>
        File.ReadAllBytes(Path.Combine(NativeRuntime.EnsureLoaded().Directories.LibTorchSharp, NativeDirectories.BindingFile));

    [Fact]
    public void Reads_the_versions_the_shipped_binding_requires()
    {
        var needs = ElfVersionNeeds.Read(ShippedBinding());

        var optional = Assert.Single(needs, need => need.Version == BindingLibrary.OptionalVersion);
        Assert.Equal("libstdc++.so.6", optional.Library);
        Assert.False(optional.IsWeak);
        Assert.Contains(needs, need => need is { Library: "libc.so.6", Version: "GLIBC_2.34" });
    }

    [Fact]
    public void Changes_one_flag_and_no_other_byte()
    {
        var original = ShippedBinding();
        var patched = ElfVersionNeeds.WithWeakVersion(original, BindingLibrary.OptionalVersion);

        var offset = ElfVersionNeeds.Read(original).Single(need => need.Version == BindingLibrary.OptionalVersion).FlagsOffset;
        Assert.Equal(original.Length, patched.Length);
        Assert.Equal(original[offset] | 2, patched[offset]);
        patched[offset] = original[offset];
        Assert.True(original.AsSpan().SequenceEqual(patched));
    }

    [Fact]
    public void Marks_only_the_version_that_was_named()
    {
        var patched = ElfVersionNeeds.WithWeakVersion(TinyElf.File, "NEW_2");

        Assert.Equal(
            [("liba.so", "OLD_1", false), ("libb.so", "NEW_1", false), ("libb.so", "NEW_2", true)],
            ElfVersionNeeds.Read(patched).Select(need => (need.Library, need.Version, need.IsWeak)));
    }

    [Fact]
    public void Leaves_a_version_that_is_weak_already()
    {
        var once = ElfVersionNeeds.WithWeakVersion(TinyElf.File, "NEW_2");
        Assert.Equal(once, ElfVersionNeeds.WithWeakVersion(once, "NEW_2"));
    }

    [Fact]
    public void Refuses_a_version_that_nothing_requires() =>
        Assert.Contains("NEW_9", Assert.Throws<BadImageFormatException>(() => ElfVersionNeeds.WithWeakVersion(TinyElf.File, "NEW_9")).Message);

    [Fact]
    public void Refuses_bytes_that_are_no_elf_file() =>
        Assert.Throws<BadImageFormatException>(() => ElfVersionNeeds.Read(new byte[200]).Count);

    [Fact]
    public void A_file_cut_anywhere_is_refused_and_never_read_outside_its_bounds()
    {
        for (var length = 0; length < TinyElf.File.Length; length++)
            Assert.Throws<BadImageFormatException>(() => ElfVersionNeeds.Read(TinyElf.File.AsSpan(0, length)).Count);
    }
}
