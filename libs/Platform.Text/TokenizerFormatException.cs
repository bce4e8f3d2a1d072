namespace Platform.Text;

/// <summary>A tokenizer file is damaged or asks for something that is not supported; the message names what and where.</summary>
public sealed class TokenizerFormatException : FormatException
{
    /// <summary>Creates the exception.</summary>
    /// <param name="file">Path or description of the document.</param>
    /// <param name="key">Place in it, as a path of JSON keys; empty for the document as a whole.</param>
    /// <param name="problem">What was found and what is supported.</param>
    public TokenizerFormatException(string file, string key, string problem)
        : this(file, key, problem, null)
    {
    }

    /// <summary>Creates the exception with the error that revealed the problem.</summary>
    /// <param name="file">Path or description of the document.</param>
    /// <param name="key">Place in it; empty for the document as a whole.</param>
    /// <param name="problem">What was found and what is supported.</param>
    /// <param name="innerException">The error that revealed it.</param>
    public TokenizerFormatException(string file, string key, string problem, Exception? innerException)
        : base(key.Length == 0 ? $"{file}: {problem}" : $"{file}: {key}: {problem}", innerException)
    {
        File = file;
        Key = key;
    }

    /// <summary>Path or description of the document.</summary>
    public string File { get; }

    /// <summary>Place in it; empty for the document as a whole.</summary>
    public string Key { get; }
}
