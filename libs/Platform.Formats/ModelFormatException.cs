namespace Platform.Formats;

/// <summary>
/// A model file does not have the shape its format promises: damaged, truncated, hostile or of a kind that is not
/// supported. The message names the file, the part of it, what was found and what is allowed.
/// </summary>
public sealed class ModelFormatException : FormatException
{
    /// <summary>Creates the exception.</summary>
    /// <param name="file">Path of the file that was being read.</param>
    /// <param name="subject">The part at fault: a tensor's name, a JSON key; empty when it is the file as a whole.</param>
    /// <param name="problem">What was found and what is allowed.</param>
    public ModelFormatException(string file, string subject, string problem)
        : this(file, subject, problem, null)
    {
    }

    /// <summary>Creates the exception with the error that revealed the problem.</summary>
    /// <param name="file">Path of the file that was being read.</param>
    /// <param name="subject">The part at fault; empty when it is the file as a whole.</param>
    /// <param name="problem">What was found and what is allowed.</param>
    /// <param name="innerException">The error that revealed it.</param>
    public ModelFormatException(string file, string subject, string problem, Exception? innerException)
        : base(subject.Length == 0 ? $"{file}: {problem}" : $"{file}: {subject}: {problem}", innerException)
    {
        File = file;
        Subject = subject;
        Problem = problem;
    }

    /// <summary>Path of the file that was being read.</summary>
    public string File { get; }

    /// <summary>The part at fault; empty when it is the file as a whole.</summary>
    public string Subject { get; }

    /// <summary>What was found and what is allowed.</summary>
    public string Problem { get; }
}
