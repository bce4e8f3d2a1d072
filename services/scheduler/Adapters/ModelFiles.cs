using Platform.Formats;
using Platform.Hosting.Artifacts;
using Platform.Hosting.Errors;

namespace Platform.Scheduler.Adapters;

/// <summary>Copies model directories. A copy appears under its name only when it is whole.</summary>
internal static class ModelFiles
{
    /// <summary>Checks a directory; throws what is wrong with it.</summary>
    /// <exception cref="FailedPreconditionException">It cannot be loaded.</exception>
    public static ModelFacts Check(string directory)
    {
        try
        {
            return ModelDirectories.Inspect(directory);
        }
        catch (Exception exception) when (exception is ModelFormatException or IOException or UnauthorizedAccessException)
        {
            throw new FailedPreconditionException("MODEL_UNREADABLE", $"{directory} is not a model that can be loaded: {exception.Message}");
        }
    }

    /// <summary>Copies the files of a directory and of those in it, such as a model's adapter, flushed to the disk.</summary>
    /// <returns>Bytes copied.</returns>
    /// <exception cref="IOException">A file cannot be read or written, or the target exists.</exception>
    public static async Task<long> CopyAsync(string source, string target, CancellationToken cancellationToken)
    {
        string parent = Path.GetDirectoryName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(target))) ?? throw new IOException($"{target} has no parent directory.");
        Directory.CreateDirectory(parent);
        string temporary = Path.Combine(parent, $".{Path.GetFileName(target)}.{Guid.NewGuid():N}.partial");
        long bytes = 0;
        try
        {
            Directory.CreateDirectory(temporary);
            foreach (string file in Directory.EnumerateFiles(source, "*", SearchOption.AllDirectories))
            {
                string copy = Path.Combine(temporary, Path.GetRelativePath(source, file));
                Directory.CreateDirectory(Path.GetDirectoryName(copy) ?? temporary);
                await using var from = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 20, useAsync: true);
                await using var to = new FileStream(copy, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1 << 20, useAsync: true);
                await from.CopyToAsync(to, 1 << 20, cancellationToken);
                to.Flush(flushToDisk: true);
                bytes += to.Length;
            }

            foreach (string directory in Directory.EnumerateDirectories(temporary, "*", SearchOption.AllDirectories).Append(temporary))
            {
                AtomicFile.FlushDirectory(directory);
            }

            Directory.Move(temporary, target);
            AtomicFile.FlushDirectory(parent);
            return bytes;
        }
        catch
        {
            if (Directory.Exists(temporary))
            {
                Directory.Delete(temporary, recursive: true);
            }

            throw;
        }
    }
}
