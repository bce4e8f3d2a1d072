using System.Runtime.CompilerServices;
using Platform.Torch.Native;

namespace Platform.Worker.Engine.Tests;

internal static class NativeSetup
{
    [ModuleInitializer]
    internal static void Load() => NativeRuntime.EnsureLoaded();
}
