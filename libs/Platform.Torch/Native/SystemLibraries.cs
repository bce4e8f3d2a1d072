using System.Runtime.InteropServices;

namespace Platform.Torch.Native;

/// <summary>Questions to and settings of the system's own C and C++ libraries.</summary>
internal static partial class SystemLibraries
{
    /// <summary>Whether the libstdc++ of this process defines a symbol in a version.</summary>
    public static bool LibstdcxxProvides(string symbol, string version) =>
        NativeLibrary.TryLoad("libstdc++.so.6", out var library)
        && FindVersionedSymbol(library, symbol, version) != IntPtr.Zero;

    /// <summary>
    /// Sets a variable for native code that reads its environment while it loads, unless the variable is already set.
    /// (.NET keeps its own copy of the environment, which native code does not see.)
    /// </summary>
    public static void SetEnvironmentDefault(string name, string value) => _ = SetEnvironment(name, value, overwrite: 0);

    [LibraryImport("libc", EntryPoint = "dlvsym", StringMarshalling = StringMarshalling.Utf8)]
    private static partial IntPtr FindVersionedSymbol(IntPtr library, string symbol, string version);

    [LibraryImport("libc", EntryPoint = "setenv", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int SetEnvironment(string name, string value, int overwrite);
}
