using Platform.Core.Validation;
using Platform.Hosting.Configuration;
using Platform.Hosting.Network;

namespace Platform.Gateway;

/// <summary>Settings of the gateway, configuration section <c>Gateway</c>.</summary>
public sealed class GatewayOptions : IValidatedOptions
{
    /// <summary>Section of the configuration.</summary>
    public const string Section = "Gateway";

    /// <summary>Where HTTP/1.1 is served: OpenAI API, JSON API, metrics, health. <c>host:port</c>, port 0 for any free one.</summary>
    public string HttpListen { get; set; } = "127.0.0.1:8080";

    /// <summary>Where gRPC is served (HTTP/2 without TLS). <c>host:port</c>, port 0 for any free one.</summary>
    public string GrpcListen { get; set; } = "127.0.0.1:8081";

    /// <summary>Address of the scheduler's gRPC services.</summary>
    public string SchedulerAddress { get; set; } = "http://127.0.0.1:8082";

    /// <summary>
    /// Keys that may call, by tenant: <c>Gateway:ApiKeys:TENANT</c> = lower-case hex SHA-256 of the key. Without any, every
    /// caller is the tenant <c>default</c>.
    /// </summary>
    public Dictionary<string, string> ApiKeys { get; } = [];

    /// <summary>Longest request body, in bytes.</summary>
    public long MaxRequestBytes { get; set; } = 16L << 20;

    /// <summary>How long a request waits for a deployment that has no ready replica.</summary>
    public double WakeTimeoutSeconds { get; set; } = 120;

    /// <summary>Deadline of calls to the scheduler that are no streams.</summary>
    public double ControlTimeoutSeconds { get; set; } = 60;

    /// <summary>Price of a device for an hour, in any currency, for comparisons of models; 0 when it is not known.</summary>
    public double DevicePricePerHour { get; set; }

    /// <inheritdoc/>
    public IEnumerable<Violation> Validate()
    {
        if (!(DevicePricePerHour >= 0))
            yield return new Violation(nameof(DevicePricePerHour), $"Expected 0 or more, found {DevicePricePerHour}.");
        foreach (var (name, value) in new[] { (nameof(HttpListen), HttpListen), (nameof(GrpcListen), GrpcListen) })
        {
            if (!ListenAddress.TryParse(value, out _))
                yield return new Violation(name, $"Expected host:port, found '{value}'.");
        }
        if (!Uri.TryCreate(SchedulerAddress, UriKind.Absolute, out _))
            yield return new Violation(nameof(SchedulerAddress), $"Expected an address such as http://scheduler:8082, found '{SchedulerAddress}'.");
        if (MaxRequestBytes is < 1024 or > (1L << 30))
            yield return new Violation(nameof(MaxRequestBytes), $"Expected 1024 to {1L << 30}, found {MaxRequestBytes}.");
        if (WakeTimeoutSeconds is not (>= 0 and <= 3600))
            yield return new Violation(nameof(WakeTimeoutSeconds), $"Expected 0 to 3600, found {WakeTimeoutSeconds}.");
        if (ControlTimeoutSeconds is not (> 0 and <= 3600))
            yield return new Violation(nameof(ControlTimeoutSeconds), $"Expected more than 0 and at most 3600, found {ControlTimeoutSeconds}.");
        foreach (var (tenant, hash) in ApiKeys)
        {
            if (hash.Length != 64 || !hash.All(char.IsAsciiHexDigitLower))
                yield return new Violation($"{nameof(ApiKeys)}.{tenant}", $"Expected the key's SHA-256 as 64 lower-case hex digits, found {hash.Length} characters.");
        }
    }
}
