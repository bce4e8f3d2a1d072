using System.Runtime.InteropServices;
using System.Text;

namespace Platform.Hosting.Artifacts;

/// <summary>
/// Files that appear whole or not at all, and stay after a power cut: written under a temporary name, flushed to the
/// disk, renamed, and the directory flushed too.
/// </summary>
public static partial class AtomicFile
{
    private const int DirectoryFlags = 0x10000; // O_RDONLY | O_DIRECTORY

    /// <summary>Writes text as UTF-8 without a byte order mark.</summary>
    /// <param name="path">Absolute path; its directory is created.</param>
    /// <param name="text">Content.</param>
    public static void WriteText(string path, string text) => WriteBytes(path, Encoding.UTF8.GetBytes(text));

    /// <summary>Writes bytes.</summary>
    /// <param name="path">Absolute path; its directory is created.</param>
    /// <param name="content">Content.</param>
    public static void WriteBytes(string path, ReadOnlySpan<byte> content)
    {
        string directory = DirectoryOf(path);
        Directory.CreateDirectory(directory);
        string temporary = $"{path}.{Guid.NewGuid():N}.tmp";
        try
        {
            using (FileStream stream = File.Create(temporary))
            {
                stream.Write(content);
                stream.Flush(flushToDisk: true);
            }

            File.Move(temporary, path, overwrite: true);
        }
        catch
        {
            File.Delete(temporary);
            throw;
        }

        FlushDirectory(directory);
    }

    /// <summary>Flushes a directory's entries to the disk; without it a rename may be forgotten by a power cut.</summary>
    /// <param name="directory">Absolute path.</param>
    public static void FlushDirectory(string directory)
    {
        if (!OperatingSystem.IsLinux())
        {
            return;
        }

        int descriptor = Open(directory, DirectoryFlags);
        if (descriptor < 0)
        {
            throw new IOException($"{directory} cannot be opened to flush it (errno {Marshal.GetLastPInvokeError()}).");
        }

        try
        {
            // Some network file systems cannot flush directories; there the rename alone has to do.
            _ = Flush(descriptor);
        }
        finally
        {
            _ = Close(descriptor);
        }
    }

    private static string DirectoryOf(string path) =>
        Path.GetDirectoryName(path) is { Length: > 0 } directory && Path.IsPathRooted(path)
            ? directory
            : throw new ArgumentException($"Expected an absolute path of a file, found '{path}'.", nameof(path));

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static partial int Flush(int descriptor);

    [LibraryImport("libc", EntryPoint = "close", SetLastError = true)]
    private static partial int Close(int descriptor);
}
