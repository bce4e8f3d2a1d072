namespace Platform.Torch.Collectives.Nccl;

/// <summary>NCCL refused a call or noticed a failure of its own.</summary>
public sealed class NcclException : CollectiveException
{
    internal NcclException(string message)
        : base(message)
    {
    }

    internal NcclException(string message, Exception inner)
        : base(message, inner)
    {
    }
}
