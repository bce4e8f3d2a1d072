namespace Platform.Worker.Engine.Data;

/// <summary>Data or a tokenizer cannot be read or is of no use; the message names the file or the field.</summary>
public sealed class InputUnreadableException : Exception
{
    /// <summary>Says what is wrong.</summary>
    public InputUnreadableException(string message)
        : base(message)
    {
    }

    /// <summary>Says what is wrong, and where that came from.</summary>
    public InputUnreadableException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}
