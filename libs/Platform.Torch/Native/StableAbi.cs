using System.Runtime.InteropServices;

namespace Platform.Torch.Native;

/// <summary>
/// The functions of libtorch's C interface that the dispatcher and tensor memory use. Declared in libtorch 2.10's
/// <c>torch/csrc/stable/c/shim.h</c> and <c>torch/csrc/inductor/aoti_torch/c/shim.h</c>; each returns 0 on success.
/// Touching this class loads the native libraries.
/// </summary>
internal static unsafe class StableAbi
{
    /// <summary>The libtorch version whose argument encoding this file follows, as <c>TORCH_ABI_VERSION</c> packs it.</summary>
    public const ulong BuildVersion = (2UL << 56) | (10UL << 48);

    // (operator, overload, stack, build version): arguments go in on the stack and are consumed, results come back on it.
    public static readonly delegate* unmanaged[Cdecl]<byte*, byte*, ulong*, ulong, int> CallDispatcher =
        (delegate* unmanaged[Cdecl]<byte*, byte*, ulong*, ulong, int>)Symbol("torch_call_dispatcher");

    public static readonly delegate* unmanaged[Cdecl]<IntPtr, IntPtr*, int> NewTensorHandle =
        (delegate* unmanaged[Cdecl]<IntPtr, IntPtr*, int>)Symbol("aoti_torch_new_tensor_handle");

    public static readonly delegate* unmanaged[Cdecl]<IntPtr, int> DeleteTensor =
        (delegate* unmanaged[Cdecl]<IntPtr, int>)Symbol("aoti_torch_delete_tensor_object");

    public static readonly delegate* unmanaged[Cdecl]<IntPtr, void**, int> GetDataPointer =
        (delegate* unmanaged[Cdecl]<IntPtr, void**, int>)Symbol("aoti_torch_get_data_ptr");

    public static readonly delegate* unmanaged[Cdecl]<nuint, IntPtr*, int> NewList =
        (delegate* unmanaged[Cdecl]<nuint, IntPtr*, int>)Symbol("torch_new_list_reserve_size");

    public static readonly delegate* unmanaged[Cdecl]<IntPtr, ulong, int> ListPushBack =
        (delegate* unmanaged[Cdecl]<IntPtr, ulong, int>)Symbol("torch_list_push_back");

    public static readonly delegate* unmanaged[Cdecl]<IntPtr, nuint, ulong*, int> ListGetItem =
        (delegate* unmanaged[Cdecl]<IntPtr, nuint, ulong*, int>)Symbol("torch_list_get_item");

    public static readonly delegate* unmanaged[Cdecl]<IntPtr, nuint*, int> ListSize =
        (delegate* unmanaged[Cdecl]<IntPtr, nuint*, int>)Symbol("torch_list_size");

    public static readonly delegate* unmanaged[Cdecl]<IntPtr, int> DeleteList =
        (delegate* unmanaged[Cdecl]<IntPtr, int>)Symbol("torch_delete_list");

    // Optional arguments travel in a cell that libtorch frees with C++ delete, so it must come from C++ new.
    public static readonly delegate* unmanaged[Cdecl]<nuint, IntPtr> CxxNew =
        (delegate* unmanaged[Cdecl]<nuint, IntPtr>)NativeLibrary.GetExport(NativeLibrary.Load("libstdc++.so.6"), "_Znwm");

    public static readonly delegate* unmanaged[Cdecl]<IntPtr, void> CxxDelete =
        (delegate* unmanaged[Cdecl]<IntPtr, void>)NativeLibrary.GetExport(NativeLibrary.Load("libstdc++.so.6"), "_ZdlPv");

    private static IntPtr Symbol(string name) => NativeLibrary.GetExport(NativeRuntime.TorchLibrary, name);
}
