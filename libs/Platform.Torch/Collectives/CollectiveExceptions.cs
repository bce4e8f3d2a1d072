namespace Platform.Torch.Collectives;

/// <summary>A collective failed; the group and its world are of no further use.</summary>
public abstract class CollectiveException : Exception
{
    private protected CollectiveException(string message)
        : base(message)
    {
    }

    private protected CollectiveException(string message, Exception inner)
        : base(message, inner)
    {
    }
}

/// <summary>Peers did not come to an operation in time.</summary>
public sealed class CollectiveTimeoutException : CollectiveException
{
    internal CollectiveTimeoutException(string message, IReadOnlyList<int> missingRanks)
        : base(message) => MissingRanks = missingRanks;

    /// <summary>World ranks that were waited for.</summary>
    public IReadOnlyList<int> MissingRanks { get; }
}

/// <summary>Two ranks entered different operations, or different sizes, under the same number.</summary>
public sealed class CollectiveMismatchException : CollectiveException
{
    internal CollectiveMismatchException(string message)
        : base(message)
    {
    }
}

/// <summary>The world was aborted, by a rank that failed or by one that is gone.</summary>
public sealed class CollectiveAbortedException : CollectiveException
{
    internal CollectiveAbortedException(string message, string reason)
        : base(message) => Reason = reason;

    /// <summary>The first reason any rank gave.</summary>
    public string Reason { get; }
}

/// <summary>A connection to a peer could not be made or was refused.</summary>
public sealed class CollectiveConnectException : CollectiveException
{
    internal CollectiveConnectException(string message)
        : base(message)
    {
    }

    internal CollectiveConnectException(string message, Exception inner)
        : base(message, inner)
    {
    }
}
