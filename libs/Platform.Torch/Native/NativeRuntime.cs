using System.Reflection;
using System.Runtime.InteropServices;
using System.Runtime.Loader;

namespace Platform.Torch.Native;

/// <summary>What was loaded.</summary>
/// <param name="Directories">Where the libraries came from.</param>
/// <param name="BindingPath">The file loaded as TorchSharp's binding.</param>
/// <param name="BindingIsRelaxed">Whether that is a copy adapted to a system without GLIBCXX_3.4.32.</param>
/// <param name="HasCuda">Whether the directory also held, and this process loaded, libtorch's CUDA part.</param>
public sealed record LoadedRuntime(NativeDirectories Directories, string BindingPath, bool BindingIsRelaxed, bool HasCuda);

/// <summary>
/// Loads libtorch and TorchSharp's binding once per process, from one shared place on disk, before TorchSharp's own
/// loader looks for them. Call <see cref="EnsureLoaded"/> before the first use of any TorchSharp type; everything in
/// this assembly that touches native code does so itself.
/// </summary>
public static class NativeRuntime
{
    private static readonly Lazy<LoadedRuntime> Runtime = new(Load, LazyThreadSafetyMode.ExecutionAndPublication);
    private static IntPtr _torch;
    private static IntPtr _binding;

    /// <summary>Loads the libraries if that has not happened yet, and says what was loaded.</summary>
    /// <exception cref="DllNotFoundException">A library is missing or the system's loader refused it; the message says which and why.</exception>
    /// <exception cref="PlatformNotSupportedException">This is not 64-bit x86 Linux.</exception>
    public static LoadedRuntime EnsureLoaded() => Runtime.Value;

    /// <summary>Handle of <c>libtorch_cpu.so</c>.</summary>
    internal static IntPtr TorchLibrary
    {
        get
        {
            EnsureLoaded();
            return _torch;
        }
    }

    private static LoadedRuntime Load()
    {
        if (!OperatingSystem.IsLinux() || RuntimeInformation.ProcessArchitecture != Architecture.X64)
            throw new PlatformNotSupportedException(
                $"libtorch is loaded on 64-bit x86 Linux only; this is {RuntimeInformation.RuntimeIdentifier}.");

        var directories = NativeDirectories.Resolve(
            Environment.GetEnvironmentVariable(NativeDirectories.EnvironmentVariable),
            AppContext.BaseDirectory, Recorded(), File.Exists);

        _torch = Open(Path.Combine(directories.Libtorch, NativeDirectories.TorchFile));
        Open(Path.Combine(directories.Libtorch, "libtorch.so"));
        var cuda = Path.Combine(directories.Libtorch, "libtorch_cuda.so");
        var hasCuda = File.Exists(cuda);
        if (hasCuda)
            Open(cuda);

        var choice = BindingLibrary.Choose(
            Path.Combine(directories.LibTorchSharp, NativeDirectories.BindingFile),
            SystemLibraries.LibstdcxxProvides(BindingLibrary.OptionalSymbol, BindingLibrary.OptionalVersion));
        var bindingPath = BindingLibrary.Materialise(
            choice, () => BindingLibrary.CacheDirectory(Environment.GetEnvironmentVariable));
        _binding = Open(bindingPath);

        // TorchSharp asks for "LibTorchSharp" by name. The system's loader already answers with the library opened
        // above, which has that name inside; this covers a runtime that asks the load context first.
        AssemblyLoadContext.Default.ResolvingUnmanagedDll += (_, name) => name switch
        {
            "LibTorchSharp" => _binding,
            "torch_cpu" => _torch,
            _ => IntPtr.Zero,
        };
        return new LoadedRuntime(directories, bindingPath, choice is BindingChoice.Relaxed, hasCuda);
    }

    private static IntPtr Open(string path)
    {
        try
        {
            return NativeLibrary.Load(path);
        }
        catch (Exception refused) when (refused is DllNotFoundException or BadImageFormatException)
        {
            throw new DllNotFoundException($"The system's loader refused {path}: {refused.Message}", refused);
        }
    }

    private static NativeDirectories? Recorded()
    {
        var metadata = typeof(NativeRuntime).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>()
            .ToDictionary(attribute => attribute.Key, attribute => attribute.Value);
        return metadata.GetValueOrDefault("LibtorchDirectory") is { } libtorch
            && metadata.GetValueOrDefault("LibTorchSharpDirectory") is { } binding
            ? new NativeDirectories(libtorch, binding)
            : null;
    }
}
