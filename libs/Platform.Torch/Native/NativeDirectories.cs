namespace Platform.Torch.Native;

/// <summary>Where the native libraries of libtorch and TorchSharp lie on disk.</summary>
/// <param name="Libtorch">Directory of <c>libtorch_cpu.so</c> and the libraries it loads from beside itself.</param>
/// <param name="LibTorchSharp">Directory of <c>libLibTorchSharp.so</c>, TorchSharp's binding to libtorch.</param>
public sealed record NativeDirectories(string Libtorch, string LibTorchSharp)
{
    /// <summary>Environment variable naming one directory that holds every native library (containers, CUDA).</summary>
    public const string EnvironmentVariable = "PLATFORM_LIBTORCH";

    internal const string TorchFile = "libtorch_cpu.so";
    internal const string BindingFile = "libLibTorchSharp.so";

    /// <summary>
    /// Picks the directories, in this order: <see cref="EnvironmentVariable"/>; a <c>native</c> directory beside the
    /// program's own; the NuGet packages recorded at build time. A directory that was named on purpose but is
    /// incomplete is an error, not a reason to look further.
    /// </summary>
    /// <param name="environment">Value of <see cref="EnvironmentVariable"/>, or null when it is not set.</param>
    /// <param name="baseDirectory">Directory of the running program.</param>
    /// <param name="recorded">The package directories recorded in the assembly, or null when none are.</param>
    /// <param name="fileExists">Whether a file exists.</param>
    /// <exception cref="DllNotFoundException">No place holds both libraries; the message lists what was looked for.</exception>
    internal static NativeDirectories Resolve(
        string? environment, string baseDirectory, NativeDirectories? recorded, Func<string, bool> fileExists)
    {
        if (!string.IsNullOrWhiteSpace(environment))
        {
            var named = new NativeDirectories(environment, environment);
            return named.Missing(fileExists) is { } missing
                ? throw new DllNotFoundException(
                    $"{EnvironmentVariable} is '{environment}', but {missing} does not exist. " +
                    $"The directory must hold {TorchFile} (libtorch 2.10) and {BindingFile} (TorchSharp 0.107).")
                : named;
        }

        var shared = Path.GetFullPath(Path.Combine(baseDirectory, "..", "native"));
        var beside = new NativeDirectories(shared, shared);
        if (beside.Missing(fileExists) is null)
            return beside;
        if (recorded is not null && recorded.Missing(fileExists) is null)
            return recorded;

        var restored = recorded is null
            ? "no package directories were recorded at build time"
            : $"the restored packages lack {recorded.Missing(fileExists)}";
        throw new DllNotFoundException(
            $"libtorch was not found: {EnvironmentVariable} is not set, {beside.Missing(fileExists)} does not exist, and " +
            $"{restored}. Run `dotnet restore`, or set {EnvironmentVariable} to a directory that holds {TorchFile} and {BindingFile}.");
    }

    /// <summary>The first library that is not where this says, or null when both are.</summary>
    private string? Missing(Func<string, bool> fileExists)
    {
        var torch = Path.Combine(Libtorch, TorchFile);
        var binding = Path.Combine(LibTorchSharp, BindingFile);
        return !fileExists(torch) ? torch : !fileExists(binding) ? binding : null;
    }
}
