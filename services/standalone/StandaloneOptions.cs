using Platform.Core.Validation;
using Platform.Hosting.Configuration;

namespace Platform.Standalone;

/// <summary>Settings of the whole platform in one process, configuration section <c>Standalone</c>; <c>platform up</c> sets them.</summary>
public sealed class StandaloneOptions : IValidatedOptions
{
    /// <summary>Section of the configuration.</summary>
    public const string Section = "Standalone";

    /// <summary>Interface to listen on.</summary>
    public string Host { get; set; } = "127.0.0.1";

    /// <summary>Port of OpenAI API, JSON API, metrics and health; 0 for any free one.</summary>
    public int HttpPort { get; set; } = 8080;

    /// <summary>Port of gRPC; 0 for any free one.</summary>
    public int GrpcPort { get; set; } = 8081;

    /// <summary>Directory of database, artifacts and logs.</summary>
    public string Data { get; set; } = ".platform";

    /// <summary>Who gives nodes: <c>static</c>, all of them at the start and in this process, or <c>local</c>, processes as jobs need them.</summary>
    public string Provider { get; set; } = "static";

    /// <summary>Virtual nodes; with the local provider those that are kept whether anybody needs them or not.</summary>
    public int Nodes { get; set; } = 2;

    /// <summary>Nodes that there may be at most with the local provider.</summary>
    public int MaxNodes { get; set; } = 4;

    /// <summary>Virtual CPU devices per node.</summary>
    public int DevicesPerNode { get; set; } = 4;

    /// <summary>Program that runs ranks; found beside this one when empty.</summary>
    public string WorkerProgram { get; set; } = "";

    /// <summary>Program that runs replicas; found beside this one when empty.</summary>
    public string ServingProgram { get; set; } = "";

    internal bool IsElastic => Provider == "local";

    /// <inheritdoc/>
    public IEnumerable<Violation> Validate()
    {
        foreach (var (name, port) in new[] { (nameof(HttpPort), HttpPort), (nameof(GrpcPort), GrpcPort) })
        {
            if (port is < 0 or > 65535)
                yield return new Violation(name, $"Expected 0 to 65535, found {port}.");
        }
        if (HttpPort != 0 && HttpPort == GrpcPort)
            yield return new Violation(nameof(GrpcPort), $"Expected another port than HttpPort, found {GrpcPort} for both.");
        if (string.IsNullOrWhiteSpace(Data))
            yield return new Violation(nameof(Data), "Expected a directory, found nothing.");
        if (Provider is not ("static" or "local"))
            yield return new Violation(nameof(Provider), $"Expected static or local, found '{Provider}'.");
        if (Nodes < (IsElastic ? 0 : 1) || Nodes > 64)
            yield return new Violation(nameof(Nodes), $"Expected {(IsElastic ? 0 : 1)} to 64, found {Nodes}.");
        if (IsElastic && (MaxNodes < Math.Max(1, Nodes) || MaxNodes > 64))
            yield return new Violation(nameof(MaxNodes), $"Expected {Math.Max(1, Nodes)} to 64, found {MaxNodes}.");
        if (DevicesPerNode is < 1 or > 64)
            yield return new Violation(nameof(DevicesPerNode), $"Expected 1 to 64, found {DevicesPerNode}.");
    }
}
