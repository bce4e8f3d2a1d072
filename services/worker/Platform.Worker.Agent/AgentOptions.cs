using Platform.Core.Validation;
using Platform.Hosting.Configuration;
using Platform.Hosting.Network;

namespace Platform.Worker.Agent;

/// <summary>Section <c>Agent</c>.</summary>
public sealed class AgentOptions : IValidatedOptions
{
    /// <summary>Name of the node, unique in the cluster; the host's name unless set.</summary>
    public string Node { get; set; } = Environment.MachineName.ToLowerInvariant();

    /// <summary>Scheduler, <c>http://host:port</c>.</summary>
    public string SchedulerAddress { get; set; } = "http://127.0.0.1:8082";

    /// <summary>Virtual CPU devices this node offers; of a node of GPUs, how many of them, the first ones, or all if there are fewer.</summary>
    public int Devices { get; set; } = 4;

    /// <summary>Kind of device: <c>cpu</c>, or <c>cuda</c> for the GPUs that the NVIDIA driver's tool lists.</summary>
    public string DeviceKind { get; set; } = "cpu";

    /// <summary>The NVIDIA driver's tool, on the path or as a file; asked once, at the start.</summary>
    public string GpuTool { get; set; } = "nvidia-smi";

    /// <summary>Memory of the node that gangs may use, in bytes; 0 for three quarters of what the machine has.</summary>
    public long MemoryBytes { get; set; }

    /// <summary>Labels such as <c>block</c>, <c>rack</c> and <c>zone</c>.</summary>
    public Dictionary<string, string> Topology { get; set; } = [];

    /// <summary>Node group that this node belongs to; empty for none.</summary>
    public string Group { get; set; } = "";

    /// <summary>Whether this node can be taken away at short notice: only jobs that allow it run here.</summary>
    public bool Spot { get; set; }

    /// <summary>The gang whose own cluster this node belongs to; empty for the shared cluster. Set by what creates nodes for a job.</summary>
    public string Cluster { get; set; } = "";

    /// <summary>
    /// File that appears when the node is about to be taken away: seconds that are left, a time, JSON with such a
    /// <c>time</c>, or nothing for <see cref="NoticeSeconds"/>. Empty for none.
    /// </summary>
    public string NoticeFile { get; set; } = "";

    /// <summary>
    /// Address that is asked every two seconds whether the node is about to be taken away: 200 with what
    /// <see cref="NoticeFile"/> may hold, or 404. Empty for none.
    /// </summary>
    public string NoticeUrl { get; set; } = "";

    /// <summary>Time that is left after a notice that does not say it.</summary>
    public double NoticeSeconds { get; set; } = 120;

    /// <summary>Directory of the agent's own: epoch, socket, launch files, process records. Not shared with another agent.</summary>
    public string DataDirectory { get; set; } = "";

    /// <summary>Host name or address under which other nodes reach this one's ranks.</summary>
    public string AdvertisedHost { get; set; } = "127.0.0.1";

    /// <summary>Where the rendezvous listens; empty for any port of <see cref="AdvertisedHost"/>.</summary>
    public string Listen { get; set; } = "";

    /// <summary>Where metrics, health and scrape targets are served over HTTP/1.1.</summary>
    public string MetricsListen { get; set; } = "127.0.0.1:0";

    /// <summary>Program of ranks; <c>rank --launch FILE</c> is added.</summary>
    public string[] WorkerCommand { get; set; } = [];

    /// <summary>Program of replicas; <c>--launch FILE</c> is added.</summary>
    public string[] ServingCommand { get; set; } = [];

    /// <summary>Threads each rank may compute with.</summary>
    public int ComputeThreads { get; set; } = 1;

    /// <summary>How long the ranks of a gang may take to meet at the rendezvous.</summary>
    public double RendezvousSeconds { get; set; } = 120;

    /// <summary>How long nothing may move in a gang, while a rank waits inside a collective, before it counts as hung.</summary>
    public double HangSeconds { get; set; } = 120;

    /// <summary>Parent of the directories for ranks' shared memory; empty for <c>/dev/shm</c>, or the temporary directory without one.</summary>
    public string SharedMemoryRoot { get; set; } = "";

    /// <inheritdoc/>
    public IEnumerable<Violation> Validate()
    {
        if (string.IsNullOrWhiteSpace(Node) || Node.Any(c => !char.IsAsciiLetterOrDigit(c) && c is not ('-' or '.' or '_')))
        {
            yield return new Violation("Node", $"Expected letters, digits, '-', '.' and '_', found '{Node}'.");
        }

        if (!Uri.TryCreate(SchedulerAddress, UriKind.Absolute, out Uri? scheduler) || scheduler.Scheme is not ("http" or "https"))
        {
            yield return new Violation("SchedulerAddress", $"Expected http://host:port, found '{SchedulerAddress}'.");
        }

        if (Devices is < 1 or > 1024)
        {
            yield return new Violation("Devices", $"Expected 1 to 1024, found {Devices}.");
        }

        if (DeviceKind is not ("cpu" or "cuda"))
        {
            yield return new Violation("DeviceKind", $"Expected cpu or cuda, found '{DeviceKind}'.");
        }

        if (!Path.IsPathRooted(DataDirectory))
        {
            yield return new Violation("DataDirectory", $"Expected an absolute path, found '{DataDirectory}'.");
        }

        if (NoticeUrl.Length > 0 && (!Uri.TryCreate(NoticeUrl, UriKind.Absolute, out Uri? notice) || notice.Scheme is not ("http" or "https")))
        {
            yield return new Violation("NoticeUrl", $"Expected http://host/path, found '{NoticeUrl}'.");
        }

        if (NoticeFile.Length > 0 && !Path.IsPathRooted(NoticeFile))
        {
            yield return new Violation("NoticeFile", $"Expected an absolute path, found '{NoticeFile}'.");
        }

        if (Listen.Length > 0 && !ListenAddress.TryParse(Listen, out _))
        {
            yield return new Violation("Listen", $"Expected host:port, found '{Listen}'.");
        }

        if (!ListenAddress.TryParse(MetricsListen, out _))
        {
            yield return new Violation("MetricsListen", $"Expected host:port, found '{MetricsListen}'.");
        }

        if (WorkerCommand.Length == 0)
        {
            yield return new Violation("WorkerCommand", "The program of ranks is missing, such as [\"platform-worker\"].");
        }

        foreach ((string name, double value) in new[]
        {
            ("MemoryBytes", (double)MemoryBytes + 1), ("ComputeThreads", ComputeThreads),
            ("RendezvousSeconds", RendezvousSeconds), ("HangSeconds", HangSeconds), ("NoticeSeconds", NoticeSeconds),
        })
        {
            if (value <= 0)
            {
                yield return new Violation(name, $"Found {value}, which is too small.");
            }
        }
    }
}
