using Platform.Core.Validation;
using Platform.Hosting.Configuration;

namespace Platform.Hosting.Artifacts;

/// <summary>Section <c>Artifacts</c>.</summary>
public sealed class ArtifactOptions : IValidatedOptions
{
    /// <summary>Directory that every process of the cluster sees under this path.</summary>
    public string Root { get; set; } = "";

    /// <inheritdoc/>
    public IEnumerable<Violation> Validate()
    {
        if (!Path.IsPathRooted(Root))
        {
            yield return new Violation("Root", $"Expected the absolute path of the shared artifact directory, found '{Root}'.");
            yield break;
        }

        string? problem = null;
        try
        {
            Directory.CreateDirectory(Root);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            problem = exception.Message;
        }

        if (problem is not null)
        {
            yield return new Violation("Root", $"The directory cannot be created: {problem}");
        }
    }

    /// <summary>Absolute path of something in the store.</summary>
    /// <param name="relative">Path relative to the root with forward slashes, or an absolute path, which stays.</param>
    /// <exception cref="ArgumentException">A relative path leaves the store.</exception>
    public string Resolve(string relative)
    {
        if (Path.IsPathRooted(relative))
        {
            return relative;
        }

        string full = Path.GetFullPath(Path.Combine(Root, relative));
        string root = Path.TrimEndingDirectorySeparator(Path.GetFullPath(Root)) + Path.DirectorySeparatorChar;
        return full.StartsWith(root, StringComparison.Ordinal)
            ? full
            : throw new ArgumentException($"'{relative}' leads out of the artifact store.", nameof(relative));
    }
}
