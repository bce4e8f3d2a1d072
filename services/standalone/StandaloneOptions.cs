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

    /// <summary>Virtual nodes.</summary>
    public int Nodes { get; set; } = 2;

    /// <summary>Virtual CPU devices per node.</summary>
    public int DevicesPerNode { get; set; } = 4;

    /// <summary>Program that runs ranks; found beside this one when empty.</summary>
    public string WorkerProgram { get; set; } = "";

    /// <summary>Program that runs replicas; found beside this one when empty.</summary>
    public string ServingProgram { get; set; } = "";

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
        if (Nodes is < 1 or > 64)
            yield return new Violation(nameof(Nodes), $"Expected 1 to 64, found {Nodes}.");
        if (DevicesPerNode is < 1 or > 64)
            yield return new Violation(nameof(DevicesPerNode), $"Expected 1 to 64, found {DevicesPerNode}.");
    }
}
