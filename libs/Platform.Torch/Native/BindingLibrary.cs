using System.Security.Cryptography;

namespace Platform.Torch.Native;

/// <summary>Which file to load as <c>libLibTorchSharp.so</c>.</summary>
internal abstract record BindingChoice
{
    private BindingChoice()
    {
    }

    /// <summary>The file as it was shipped: this system provides all it asks for.</summary>
    public sealed record Original(string Path) : BindingChoice;

    /// <summary>A copy that does without one version this system lacks.</summary>
    public sealed record Relaxed(string Path, string MissingVersion) : BindingChoice;
}

/// <summary>
/// TorchSharp's binding requires <c>GLIBCXX_3.4.32</c> (GCC 13) for a single symbol, <c>_ZSt21ios_base_library_initv</c>,
/// that nothing in it refers to: it only orders initialisation at link time. Debian 12 and other systems with the
/// libstdc++ of GCC 12 lack that version, and their loader refuses the file. There a copy is loaded in which that one
/// requirement is weak. Systems that provide the version load the original untouched.
/// </summary>
internal static class BindingLibrary
{
    public const string OptionalVersion = "GLIBCXX_3.4.32";
    public const string OptionalSymbol = "_ZSt21ios_base_library_initv";
    public const string CacheVariable = "PLATFORM_NATIVE_CACHE";

    /// <summary>Decides which file to load.</summary>
    public static BindingChoice Choose(string original, bool systemProvidesVersion) => systemProvidesVersion
        ? new BindingChoice.Original(original)
        : new BindingChoice.Relaxed(original, OptionalVersion);

    /// <summary>
    /// The path to load for a choice; for <see cref="BindingChoice.Relaxed"/> the copy is made in
    /// <paramref name="cacheDirectory"/> first. The copy is named by the content of the original, compared with what
    /// it should be before it is used, and appears under its name only when complete, so any number of processes may
    /// do this at once.
    /// </summary>
    public static string Materialise(BindingChoice choice, Func<string> cacheDirectory)
    {
        switch (choice)
        {
            case BindingChoice.Original original:
                return original.Path;
            case BindingChoice.Relaxed relaxed:
                var bytes = File.ReadAllBytes(relaxed.Path);
                var expected = ElfVersionNeeds.WithWeakVersion(bytes, relaxed.MissingVersion);
                var directory = cacheDirectory();
                Directory.CreateDirectory(directory);
                var hash = Convert.ToHexStringLower(SHA256.HashData(bytes))[..16];
                var path = Path.Combine(directory, $"libLibTorchSharp-{hash}.so");
                if (!Holds(path, expected))
                    WriteAtomically(path, expected);
                return path;
            default:
                throw new InvalidOperationException($"Unknown choice {choice}.");
        }
    }

    /// <summary>The user's cache directory for relaxed copies.</summary>
    /// <exception cref="InvalidOperationException">Neither an explicit directory nor a home directory is known.</exception>
    public static string CacheDirectory(Func<string, string?> environment)
    {
        if (environment(CacheVariable) is { Length: > 0 } chosen)
            return chosen;
        if (environment("XDG_CACHE_HOME") is { Length: > 0 } cache)
            return Path.Combine(cache, "platform", "native");
        if (environment("HOME") is { Length: > 0 } home)
            return Path.Combine(home, ".cache", "platform", "native");
        throw new InvalidOperationException(
            $"This system's libstdc++ lacks {OptionalVersion}, so a patched copy of libLibTorchSharp.so is needed, but there " +
            $"is no place for it: set {CacheVariable}, XDG_CACHE_HOME or HOME to a directory this user may write.");
    }

    private static bool Holds(string path, ReadOnlySpan<byte> expected) =>
        File.Exists(path) && File.ReadAllBytes(path).AsSpan().SequenceEqual(expected);

    private static void WriteAtomically(string path, ReadOnlySpan<byte> content)
    {
        var temporary = $"{path}.{Environment.ProcessId}.{Guid.NewGuid():N}.tmp";
        try
        {
            using (var stream = new FileStream(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None))
            {
                stream.Write(content);
                stream.Flush(flushToDisk: true);
            }

            File.Move(temporary, path, overwrite: true);
        }
        finally
        {
            File.Delete(temporary);
        }
    }
}
