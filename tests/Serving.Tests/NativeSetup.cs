using System.Runtime.CompilerServices;
using Platform.Torch.Native;

namespace Platform.Serving.Tests;

internal static class NativeSetup
{
    [ModuleInitializer]
    internal static void Load()
    {
        NativeRuntime.EnsureLoaded();
        TorchThreads.Set(2);
    }
}
