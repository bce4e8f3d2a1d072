using Platform.Core.Specs;
using Platform.Core.Validation;
using Platform.Scheduling.Capacity;

namespace Platform.Scheduler;

/// <summary>Section <c>Scheduler:Capacity</c>: who gives nodes, and how many.</summary>
public sealed class ProviderOptions
{
    /// <summary>Node groups; of two that would do equally well the first is asked.</summary>
    public NodeGroupOptions[] Groups { get; set; } = [];

    /// <summary>How long a node that was asked for may take to join before it is given up.</summary>
    public double JoinSeconds { get; set; } = 300;

    /// <summary>How long a node that nobody needs is kept.</summary>
    public double IdleSeconds { get; set; } = 300;

    /// <summary>Wait before a group is asked again after its provider failed; it doubles with each failure in a row.</summary>
    public double BackoffSeconds { get; set; } = 10;

    /// <summary>Longest such wait.</summary>
    public double BackoffLimitSeconds { get; set; } = 600;

    /// <summary>Whether jobs are moved by checkpoint when that makes a node superfluous.</summary>
    public bool Consolidation { get; set; } = true;

    /// <summary>How long nothing may have changed, and jobs must have run, before they are moved for that.</summary>
    public double ConsolidationSeconds { get; set; } = 600;

    /// <summary>Time between looks at what providers have.</summary>
    public double PollSeconds { get; set; } = 1;

    /// <summary>Nodes as processes of this machine.</summary>
    public LocalProviderOptions Local { get; set; } = new();

    /// <summary>Nodes as pods.</summary>
    public KubernetesProviderOptions Kubernetes { get; set; } = new();

    internal CapacityOptions Decision => new()
    {
        Groups = [.. Groups.Select(group => group.Group)],
        AskLease = TimeSpan.FromSeconds(JoinSeconds),
        IdleDelay = TimeSpan.FromSeconds(IdleSeconds),
        BackoffBase = TimeSpan.FromSeconds(BackoffSeconds),
        BackoffLimit = TimeSpan.FromSeconds(Math.Max(BackoffSeconds, BackoffLimitSeconds)),
        Consolidation = Consolidation,
        ConsolidationDelay = TimeSpan.FromSeconds(ConsolidationSeconds),
    };

    internal IEnumerable<Violation> Validate()
    {
        foreach (var (name, value) in new[]
        {
            (nameof(JoinSeconds), JoinSeconds), (nameof(BackoffSeconds), BackoffSeconds), (nameof(PollSeconds), PollSeconds),
        })
        {
            if (!(value > 0))
            {
                yield return new Violation(name, $"Expected more than 0, found {value}.");
            }
        }

        foreach (var (name, value) in new[] { (nameof(IdleSeconds), IdleSeconds), (nameof(ConsolidationSeconds), ConsolidationSeconds) })
        {
            if (!(value >= 0))
            {
                yield return new Violation(name, $"Expected 0 or more, found {value}.");
            }
        }

        for (int n = 0; n < Groups.Length; n++)
        {
            foreach (var violation in Groups[n].Validate())
            {
                yield return violation with { Field = $"{nameof(Groups)}:{n}:{violation.Field}" };
            }

            if (Groups.Take(n).Any(other => other.Name == Groups[n].Name))
            {
                yield return new Violation($"{nameof(Groups)}:{n}:{nameof(NodeGroupOptions.Name)}", $"There are two groups '{Groups[n].Name}'.");
            }
        }

        bool isLocal = Groups.Any(group => group.Provider == NodeGroupOptions.Local), isKubernetes = Groups.Any(group => group.Provider == NodeGroupOptions.Kubernetes);
        if (isLocal && !Path.IsPathRooted(Local.Directory))
        {
            yield return new Violation("Local:Directory", $"Expected an absolute path, found '{Local.Directory}'.");
        }

        if (isLocal && Local.Command.Length == 0)
        {
            yield return new Violation("Local:Command", "The program of agents is missing, such as [\"platform-worker\"].");
        }

        if (isKubernetes && !File.Exists(Kubernetes.PodFile))
        {
            yield return new Violation("Kubernetes:PodFile", $"Expected a file with a pod, found nothing at '{Kubernetes.PodFile}'.");
        }

        if (isKubernetes && !ResourceId.IsValid(Kubernetes.Namespace))
        {
            yield return new Violation("Kubernetes:Namespace", $"Expected a namespace, found '{Kubernetes.Namespace}'.");
        }
    }
}

/// <summary>A node group.</summary>
public sealed class NodeGroupOptions
{
    internal const string Local = "local";
    internal const string Kubernetes = "kubernetes";

    /// <summary>Name; nodes go by it and a number.</summary>
    public string Name { get; set; } = "";

    /// <summary><c>static</c> (others start its nodes), <c>local</c> or <c>kubernetes</c>.</summary>
    public string Provider { get; set; } = NodeGroup.Static;

    /// <summary>Nodes that are kept whether anybody needs them or not.</summary>
    public int MinNodes { get; set; }

    /// <summary>Nodes that there may be at most.</summary>
    public int MaxNodes { get; set; }

    /// <summary>Devices of each node.</summary>
    public int Devices { get; set; } = 1;

    /// <summary><c>cpu</c> or <c>cuda</c>.</summary>
    public string DeviceKind { get; set; } = "cpu";

    /// <summary>Memory of each device, such as 80GiB; empty when that is enough for every job.</summary>
    public string DeviceMemory { get; set; } = "";

    /// <summary>Host memory of each node that jobs may use; empty when that is enough for every job.</summary>
    public string Memory { get; set; } = "";

    /// <summary>Labels such as <c>block</c>, <c>rack</c> and <c>zone</c>.</summary>
    public Dictionary<string, string> Topology { get; set; } = [];

    /// <summary>Whether its nodes can be taken away at short notice.</summary>
    public bool Spot { get; set; }

    internal long? MemoryBytes => ByteSize.TryParse(Memory, out long bytes) && bytes > 0 ? bytes : null;

    // An agent of this machine offers three quarters of it unless told otherwise; of others nothing is known.
    private long PresumedMemoryBytes => Provider == Local ? GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 4 * 3 : 1L << 50;

    internal NodeGroup Group => new()
    {
        Name = Name,
        Provider = Provider,
        MinNodes = MinNodes,
        MaxNodes = MaxNodes,
        Devices = Devices,
        DeviceKind = DeviceKind,
        DeviceMemoryBytes = ByteSize.TryParse(DeviceMemory, out long device) && device > 0 ? device
            : Provider == Local ? (MemoryBytes ?? PresumedMemoryBytes) / Math.Max(1, Devices) : PresumedMemoryBytes,
        MemoryBytes = MemoryBytes ?? PresumedMemoryBytes,
        Topology = Topology,
        Spot = Spot,
    };

    internal IEnumerable<Violation> Validate()
    {
        if (!ResourceId.IsValid(Name))
        {
            yield return new Violation(nameof(Name), $"'{Name}' is not a name; {ResourceId.Rule}.");
        }

        if (Provider is not (NodeGroup.Static or Local or Kubernetes))
        {
            yield return new Violation(nameof(Provider), $"Expected static, local or kubernetes, found '{Provider}'.");
        }

        if (MaxNodes is < 1 or > 100_000)
        {
            yield return new Violation(nameof(MaxNodes), $"Expected 1 to 100000, found {MaxNodes}.");
        }

        if (MinNodes < 0 || MinNodes > MaxNodes)
        {
            yield return new Violation(nameof(MinNodes), $"Expected 0 to MaxNodes, which is {MaxNodes}; found {MinNodes}.");
        }

        if (Devices is < 1 or > 1024)
        {
            yield return new Violation(nameof(Devices), $"Expected 1 to 1024, found {Devices}.");
        }

        if (DeviceKind is not ("cpu" or "cuda"))
        {
            yield return new Violation(nameof(DeviceKind), $"Expected cpu or cuda, found '{DeviceKind}'.");
        }

        foreach (var (name, value) in new[] { (nameof(DeviceMemory), DeviceMemory), (nameof(Memory), Memory) })
        {
            if (value.Length > 0 && !(ByteSize.TryParse(value, out long bytes) && bytes > 0))
            {
                yield return new Violation(name, $"'{value}' is no size such as 80GiB.");
            }
        }
    }
}

/// <summary>Nodes as processes of this machine.</summary>
public sealed class LocalProviderOptions
{
    /// <summary>Directory in which each agent gets its own; absolute.</summary>
    public string Directory { get; set; } = "";

    /// <summary>Program of agents; <c>agent</c> and its settings are added.</summary>
    public string[] Command { get; set; } = [];

    /// <summary>Further arguments of each agent, such as <c>--Agent:ServingCommand:0=platform-serving</c>.</summary>
    public string[] Arguments { get; set; } = [];
}

/// <summary>Nodes as pods.</summary>
public sealed class KubernetesProviderOptions
{
    /// <summary>Namespace of the pods.</summary>
    public string Namespace { get; set; } = "default";

    /// <summary>File with a pod, as YAML; each node is one like it, its first container told the node's name, group and devices.</summary>
    public string PodFile { get; set; } = "";

    /// <summary>Name of this installation: only pods with it are looked at and removed.</summary>
    public string Installation { get; set; } = "platform";

    /// <summary>API server, such as http://127.0.0.1:8001 of <c>kubectl proxy</c>; empty for that of the pod or of <see cref="KubeConfig"/>.</summary>
    public string Server { get; set; } = "";

    /// <summary>File with access to the API server; empty for that of the pod.</summary>
    public string KubeConfig { get; set; } = "";
}
