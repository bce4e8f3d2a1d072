namespace Platform.Torch.Collectives;

/// <summary>Where the memory of a <see cref="CollectiveBuffer"/> lies.</summary>
public enum MemorySpace
{
    /// <summary>Memory of this process, which every group moves.</summary>
    Host,

    /// <summary>Memory of the CUDA device, which only groups of devices move.</summary>
    Device,
}
