using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Platform.Core.Gangs;
using Platform.Hosting.Artifacts;
using Platform.Hosting.Errors;
using Platform.Worker.Agent.Core;

namespace Platform.Worker.Agent.Adapters;

/// <summary>The agent's own files: lock, persisted epoch, socket, launch files, and shared-memory directories of attempts.</summary>
internal sealed class AgentDirectory : IDisposable
{
    // sun_path has 108 bytes with its terminating zero.
    private const int MaxSocketPathBytes = 107;

    private readonly FileStream _lock;
    private readonly string _sharedMemoryPrefix;

    private AgentDirectory(string root, string node, FileStream held, string sharedMemoryRoot)
    {
        Root = root;
        _lock = held;
        string id = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(root)))[..12];
        _sharedMemoryPrefix = Path.Combine(sharedMemoryRoot, $"platform-{node}-{id}-");
        string socket = Path.Combine(root, "agent.sock");
        SocketPath = Encoding.UTF8.GetByteCount(socket) <= MaxSocketPathBytes
            ? socket
            : Path.Combine(Path.GetTempPath(), $"platform-agent-{id}.sock");
        ProcessRecords = Path.Combine(root, "processes");
        Directory.CreateDirectory(ProcessRecords);
        Directory.CreateDirectory(Path.Combine(root, "launch"));
    }

    public string Root { get; }

    /// <summary>Socket of RankService.</summary>
    public string SocketPath { get; }

    /// <summary>One file for each process that may run.</summary>
    public string ProcessRecords { get; }

    public long Epoch => File.Exists(EpochFile) ? long.Parse(File.ReadAllText(EpochFile), CultureInfo.InvariantCulture) : 0;

    private string EpochFile => Path.Combine(Root, "epoch");

    /// <exception cref="UnavailableException">Another agent uses the directory.</exception>
    public static AgentDirectory Open(AgentOptions options)
    {
        string root = Path.GetFullPath(options.DataDirectory);
        Directory.CreateDirectory(root);
        FileStream held;
        try
        {
            held = new FileStream(Path.Combine(root, "lock"), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (IOException exception)
        {
            throw new UnavailableException(
                "DATA_DIRECTORY_IN_USE", $"Another agent uses {root}; give each agent an Agent:DataDirectory of its own.", exception);
        }

        string sharedMemory = options.SharedMemoryRoot.Length > 0 ? options.SharedMemoryRoot
            : Directory.Exists("/dev/shm") ? "/dev/shm" : Path.GetTempPath();
        return new AgentDirectory(root, options.Node, held, sharedMemory);
    }

    public void PersistEpoch(long epoch) => AtomicFile.WriteText(EpochFile, epoch.ToString(CultureInfo.InvariantCulture));

    /// <summary>Creates the directory for an attempt's shared memory.</summary>
    public string CreateSharedMemory(AttemptKey key)
    {
        string path = _sharedMemoryPrefix + FileName(key);
        CreatePrivate(path);
        return path;
    }

    /// <summary>Writes what a rank is told; readable by this user only, since it holds the attempt's secret.</summary>
    public string WriteLaunch(RankLaunch launch)
    {
        string path = Path.Combine(LaunchDirectory(new AttemptKey(launch.Gang, launch.Attempt)), $"rank-{launch.Rank}.json");
        CreatePrivate(Path.GetDirectoryName(path) ?? Root);
        File.WriteAllText(path, GangJson.Write(launch));
        return path;
    }

    /// <summary>Deletes what belongs to an attempt.</summary>
    public void DeleteAttempt(AttemptKey key)
    {
        DeleteTree(LaunchDirectory(key));
        DeleteTree(_sharedMemoryPrefix + FileName(key));
    }

    /// <summary>Deletes what attempts of former runs left.</summary>
    public void DeleteLeftovers()
    {
        foreach (string path in Directory.GetDirectories(Path.Combine(Root, "launch")))
        {
            DeleteTree(path);
        }

        string parent = Path.GetDirectoryName(_sharedMemoryPrefix) ?? "/";
        foreach (string path in Directory.GetDirectories(parent, Path.GetFileName(_sharedMemoryPrefix) + "*"))
        {
            DeleteTree(path);
        }
    }

    public void Dispose() => _lock.Dispose();

    private static string FileName(AttemptKey key) => $"{key.Gang.Replace('/', '.')}.{key.Attempt}";

    private static void CreatePrivate(string path)
    {
        if (OperatingSystem.IsWindows())
        {
            Directory.CreateDirectory(path);
        }
        else
        {
            Directory.CreateDirectory(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
    }

    private static void DeleteTree(string path)
    {
        if (Directory.Exists(path))
        {
            Directory.Delete(path, recursive: true);
        }
    }

    private string LaunchDirectory(AttemptKey key) => Path.Combine(Root, "launch", FileName(key));
}
