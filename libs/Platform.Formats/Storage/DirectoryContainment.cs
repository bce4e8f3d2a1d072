namespace Platform.Formats.Storage;

/// <summary>Keeps files that a document names inside the document's own directory.</summary>
internal static class DirectoryContainment
{
    /// <summary>Requires a plain file name: no directory, no parent, nothing absolute.</summary>
    /// <exception cref="ModelFormatException">It is not.</exception>
    internal static void RequirePlainName(string document, string subject, string name)
    {
        if (name.Length is 0 or > 255 || name is "." or ".." || name.AsSpan().IndexOfAny('/', '\\', '\0') >= 0)
        {
            throw new ModelFormatException(document, subject, $"'{name}' is not a plain file name; files must lie in the same directory");
        }
    }

    /// <summary>Path of a named file, which must be a regular file inside the directory once links are followed.</summary>
    /// <param name="document">The document that names it, for messages.</param>
    /// <param name="subject">The place in it, for messages.</param>
    /// <param name="directory">Directory the file must lie in.</param>
    /// <param name="name">Its plain name.</param>
    /// <exception cref="ModelFormatException">It is missing or a link that leads out of the directory.</exception>
    internal static string Resolve(string document, string subject, string directory, string name)
    {
        RequirePlainName(document, subject, name);
        var path = Path.Combine(directory, name);
        var file = new FileInfo(path);
        if (file.LinkTarget is not null)
        {
            var target = file.ResolveLinkTarget(returnFinalTarget: true)?.FullName ?? "";
            var root = Real(directory) + Path.DirectorySeparatorChar;
            if (!Real(target).StartsWith(root, StringComparison.Ordinal))
            {
                throw new ModelFormatException(document, subject, $"'{name}' is a link that leads out of the directory, to '{target}'");
            }
        }
        return file.Exists
            ? path
            : throw new ModelFormatException(document, subject, $"the file '{name}' does not exist");
    }

    /// <summary>The path with every link in it followed, as far as it exists.</summary>
    private static string Real(string path)
    {
        var full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        var parent = Path.GetDirectoryName(full);
        if (parent is null)
        {
            return full;
        }
        var here = Path.Combine(Real(parent), Path.GetFileName(full));
        FileSystemInfo info = Directory.Exists(here) ? new DirectoryInfo(here) : new FileInfo(here);
        return info.LinkTarget is null ? here : Real(info.ResolveLinkTarget(returnFinalTarget: true)?.FullName ?? here);
    }
}
