using System.Runtime.InteropServices;

namespace Platform.Torch.Collectives.Nccl;

/// <summary>What the ranks of a communicator share to find each other: <c>ncclUniqueId</c>, passed by value.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct NcclUniqueId
{
    /// <summary>Bytes of the identifier (<c>NCCL_UNIQUE_ID_BYTES</c>).</summary>
    public const int Size = 128;

    /// <summary>Opaque.</summary>
    public fixed byte Bytes[Size];
}
