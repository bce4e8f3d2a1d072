using System.IO.Enumeration;

namespace Platform.Worker.Engine.Data;

/// <summary>Finds the files that a job's <c>data.source</c> means.</summary>
public static class SourceFiles
{
    /// <summary>Every file once, in ordinal order of full paths, so that all readers see one sequence.</summary>
    /// <param name="sources">
    /// Files; directories, which mean all files below them; or patterns whose last parts have <c>*</c> or <c>?</c> (<c>**</c>
    /// means any directories).
    /// </param>
    /// <exception cref="InputUnreadableException">A source names nothing that exists.</exception>
    public static IReadOnlyList<string> Find(IReadOnlyList<string> sources)
    {
        ArgumentNullException.ThrowIfNull(sources);
        if (sources.Count == 0)
            throw new InputUnreadableException("data.source names no files.");
        var files = new SortedSet<string>(StringComparer.Ordinal);
        for (var i = 0; i < sources.Count; i++)
        {
            try
            {
                var found = Expand(sources[i]);
                if (found.Count == 0)
                    throw new InputUnreadableException($"data.source[{i}]: '{sources[i]}' matches no file.");
                files.UnionWith(found);
            }
            catch (Exception refused) when (refused is IOException or UnauthorizedAccessException)
            {
                throw new InputUnreadableException($"data.source[{i}]: '{sources[i]}' cannot be read: {refused.Message}", refused);
            }
        }

        return [.. files];
    }

    private static List<string> Expand(string source)
    {
        if (File.Exists(source))
            return [Path.GetFullPath(source)];
        if (Directory.Exists(source))
            return [.. Directory.EnumerateFiles(Path.GetFullPath(source), "*", SearchOption.AllDirectories)];
        if (source.AsSpan().IndexOfAny('*', '?') < 0)
            throw new InputUnreadableException($"data.source: '{source}' does not exist.");

        var full = Path.GetFullPath(source);
        var parts = full.Split(Path.DirectorySeparatorChar);
        var fixedParts = parts.TakeWhile(part => part.AsSpan().IndexOfAny('*', '?') < 0).Count();
        var root = string.Join(Path.DirectorySeparatorChar, parts.Take(fixedParts)) + Path.DirectorySeparatorChar;
        if (!Directory.Exists(root))
            return [];
        var depth = parts.Contains("**") ? SearchOption.AllDirectories
            : parts.Length == fixedParts + 1 ? SearchOption.TopDirectoryOnly : SearchOption.AllDirectories;
        return [.. Directory.EnumerateFiles(root, "*", depth)
            .Where(file => Matches(file.Split(Path.DirectorySeparatorChar).AsSpan(fixedParts), parts.AsSpan(fixedParts)))];
    }

    private static bool Matches(ReadOnlySpan<string> path, ReadOnlySpan<string> pattern)
    {
        if (pattern.IsEmpty)
            return path.IsEmpty;
        if (pattern[0] == "**")
            return Matches(path, pattern[1..]) || (!path.IsEmpty && Matches(path[1..], pattern));
        return !path.IsEmpty && FileSystemName.MatchesSimpleExpression(pattern[0], path[0], ignoreCase: false)
            && Matches(path[1..], pattern[1..]);
    }
}
