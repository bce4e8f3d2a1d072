using Platform.Hosting.Errors;

namespace Platform.Standalone;

/// <summary>The platform's directory on this machine, held by one process at a time.</summary>
public sealed class DataDirectory : IDisposable
{
    private readonly FileStream _lock;

    private DataDirectory(string root, FileStream held)
    {
        Root = root;
        _lock = held;
    }

    /// <summary>Absolute path.</summary>
    public string Root { get; }

    /// <summary>The database's file.</summary>
    public string Database => Path.Combine(Root, "platform.db");

    /// <summary>Root of the artifact store.</summary>
    public string Artifacts => Path.Combine(Root, "artifacts");

    /// <summary>Directory of a node agent.</summary>
    public string Node(string name) => Path.Combine(Root, "nodes", name);

    /// <summary>Creates the directory if needed and takes hold of it.</summary>
    /// <exception cref="FailedPreconditionException">Another platform uses it.</exception>
    public static DataDirectory Open(string path)
    {
        string root = Path.GetFullPath(path);
        Directory.CreateDirectory(root);
        string file = Path.Combine(root, "lock");
        FileStream held;
        try
        {
            held = new FileStream(file, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (IOException)
        {
            throw new FailedPreconditionException(
                "DATA_DIRECTORY_IN_USE",
                $"Another platform runs on {root}. Stop it, or choose another directory with --data DIR.");
        }
        var directory = new DataDirectory(root, held);
        Directory.CreateDirectory(directory.Artifacts);
        return directory;
    }

    /// <inheritdoc/>
    public void Dispose() => _lock.Dispose();
}
