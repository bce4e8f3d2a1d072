using Microsoft.Win32.SafeHandles;

namespace Platform.Formats.Storage;

/// <summary>
/// A file that appears under its name complete or not at all: written under a temporary name in the same directory,
/// flushed to the disk, renamed, and the directory flushed so that the name itself survives a power cut.
/// </summary>
public sealed class DurableFile : IDisposable
{
    private readonly string _temporaryPath;
    private readonly SafeFileHandle _handle;
    private bool _done;

    private DurableFile(string path, string temporaryPath, SafeFileHandle handle)
    {
        Path = path;
        _temporaryPath = temporaryPath;
        _handle = handle;
    }

    /// <summary>Path the file will have once committed.</summary>
    public string Path { get; }

    /// <summary>The open temporary file, for reading and writing.</summary>
    public SafeFileHandle Handle => _handle;

    /// <summary>Starts a file that replaces <paramref name="path"/> when committed.</summary>
    /// <param name="path">Its final path; the directory must exist.</param>
    /// <param name="expectedBytes">Space to reserve at once, so that a full disk shows here; 0 reserves none.</param>
    /// <exception cref="IOException">The temporary file cannot be created, or the space is not there.</exception>
    public static DurableFile Create(string path, long expectedBytes = 0)
    {
        var full = System.IO.Path.GetFullPath(path);
        var temporary = $"{full}.{Guid.NewGuid():N}.tmp";
        var handle = File.OpenHandle(temporary, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None, FileOptions.None, expectedBytes);
        return new DurableFile(full, temporary, handle);
    }

    /// <summary>Writes a whole file durably.</summary>
    /// <exception cref="IOException">It cannot be written.</exception>
    public static void WriteAllBytes(string path, ReadOnlySpan<byte> content)
    {
        using var file = Create(path);
        RandomAccess.Write(file.Handle, content, 0);
        file.Commit();
    }

    /// <summary>Flushes the content, gives the file its name and flushes the directory.</summary>
    /// <exception cref="IOException">A step failed; the file under the final name is as it was before.</exception>
    public void Commit()
    {
        ObjectDisposedException.ThrowIf(_done, this);
        RandomAccess.FlushToDisk(_handle);
        _handle.Dispose();
        File.Move(_temporaryPath, Path, overwrite: true);
        _done = true;
        DirectoryFlush.Flush(System.IO.Path.GetDirectoryName(Path) ?? "/");
    }

    /// <summary>Closes the file; what was not committed is deleted.</summary>
    public void Dispose()
    {
        _handle.Dispose();
        if (!_done)
        {
            _done = true;
            File.Delete(_temporaryPath);
        }
    }
}
