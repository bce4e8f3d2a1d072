namespace Platform.Torch.Cuda;

/// <summary>A call of the CUDA driver failed, or there is no driver.</summary>
public sealed class CudaException : Exception
{
    /// <summary>Says what could not be done and why.</summary>
    public CudaException(string message)
        : base(message)
    {
    }

    /// <summary>Says what could not be done and why.</summary>
    public CudaException(string message, Exception inner)
        : base(message, inner)
    {
    }
}
