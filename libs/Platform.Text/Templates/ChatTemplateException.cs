namespace Platform.Text.Templates;

/// <summary>
/// A chat template is at fault: it is malformed, uses a construct that is not supported, works on a value of the
/// wrong kind or exceeds a limit. The message names the construct and the line.
/// </summary>
public sealed class ChatTemplateException : FormatException
{
    /// <summary>Creates the exception.</summary>
    /// <param name="line">Line of the template, from 1.</param>
    /// <param name="problem">What is wrong.</param>
    public ChatTemplateException(int line, string problem)
        : base($"chat template, line {line}: {problem}") => Line = line;

    /// <summary>Line of the template, from 1.</summary>
    public int Line { get; }
}

/// <summary>The template itself refused the conversation (<c>raise_exception</c>), say because roles do not alternate.</summary>
public sealed class ChatTemplateRefusedException : FormatException
{
    /// <summary>Creates the exception.</summary>
    /// <param name="reason">The reason the template gives.</param>
    public ChatTemplateRefusedException(string reason)
        : base(reason)
    {
    }
}
