using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using OpenTelemetry;
using OpenTelemetry.Resources;
using OpenTelemetry.Trace;

namespace Platform.Hosting.Telemetry;

/// <summary>
/// Traces of this process to an OTLP collector. Activity sources are process-wide, so there is one exporter per
/// process and collector however many hosts share it; the first one names the service.
/// </summary>
public static class ProcessTelemetry
{
    private const string EndpointVariable = "OTEL_EXPORTER_OTLP_ENDPOINT";
    private static readonly Lock Gate = new();
    private static readonly Dictionary<string, Shared> Exporters = new(StringComparer.Ordinal);

    /// <summary>Collector that a configuration names (<c>Telemetry:OtlpEndpoint</c>), or the environment; null for none.</summary>
    /// <param name="configuration">Configuration, or null for the environment alone.</param>
    public static string? EndpointOf(IConfiguration? configuration)
    {
        string? endpoint = configuration?["Telemetry:OtlpEndpoint"];
        endpoint = string.IsNullOrWhiteSpace(endpoint) ? Environment.GetEnvironmentVariable(EndpointVariable) : endpoint;
        return string.IsNullOrWhiteSpace(endpoint) ? null : endpoint;
    }

    /// <summary>Environment that makes a child process export to the same collector.</summary>
    /// <param name="endpoint">Collector, or null.</param>
    public static IReadOnlyDictionary<string, string> ChildEnvironment(string? endpoint) =>
        endpoint is null ? new Dictionary<string, string>() : new Dictionary<string, string> { [EndpointVariable] = endpoint };

    /// <summary>Starts exporting, as the environment says.</summary>
    /// <param name="serviceName"><c>service.name</c>: <c>platform-rank</c>, <c>platform-serving</c> and so on.</param>
    /// <returns>Flushes and stops when disposed.</returns>
    public static IDisposable Start(string serviceName) => Start(serviceName, EndpointOf(null));

    /// <summary>Starts exporting to a collector.</summary>
    /// <param name="serviceName"><c>service.name</c> of the traces.</param>
    /// <param name="endpoint">OTLP gRPC endpoint, such as <c>http://localhost:4317</c>; null exports nothing.</param>
    /// <returns>Flushes and stops when disposed.</returns>
    public static IDisposable Start(string serviceName, string? endpoint)
    {
        if (endpoint is null)
        {
            return new Lease(null);
        }

        lock (Gate)
        {
            if (!Exporters.TryGetValue(endpoint, out Shared? shared))
            {
                shared = new Shared(endpoint, Create(serviceName, new Uri(endpoint)));
                Exporters.Add(endpoint, shared);
            }

            shared.Users++;
            return new Lease(shared);
        }
    }

    private static TracerProvider Create(string serviceName, Uri endpoint)
    {
        IConfiguration settings = new ConfigurationBuilder()
            .AddInMemoryCollection(new Dictionary<string, string?>
            {
                ["OTEL_DOTNET_EXPERIMENTAL_ASPNETCORE_ENABLE_GRPC_INSTRUMENTATION"] = "true",
            })
            .AddEnvironmentVariables()
            .Build();
        return Sdk.CreateTracerProviderBuilder()
            .ConfigureServices(services => services.AddSingleton(settings))
            .ConfigureResource(resource => resource.AddService(serviceName, serviceNamespace: "platform"))
            // The gRPC client has a span of its own between the caller and the HTTP request; without it the chain would break.
            .AddSource("Platform.*", "MassTransit", "Grpc.Net.Client")
            .AddAspNetCoreInstrumentation(options => options.Filter = context => !IsProbe(context.Request.Path))
            // The exporter's own calls must not become spans.
            .AddHttpClientInstrumentation(options => options.FilterHttpRequestMessage =
                request => request.RequestUri is not { } uri || uri.Authority != endpoint.Authority)
            .AddOtlpExporter(options => options.Endpoint = endpoint)
            .Build();
    }

    private static bool IsProbe(Microsoft.AspNetCore.Http.PathString path) =>
        path == "/metrics" || path == "/healthz" || path == "/readyz" || path.StartsWithSegments("/sd", StringComparison.Ordinal);

    private sealed class Shared(string endpoint, TracerProvider provider)
    {
        public string Endpoint => endpoint;

        public TracerProvider Provider => provider;

        public int Users { get; set; }
    }

    private sealed class Lease(Shared? shared) : IDisposable
    {
        private Shared? _shared = shared;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _shared, null) is not { } held)
            {
                return;
            }

            lock (Gate)
            {
                if (--held.Users > 0)
                {
                    held.Provider.ForceFlush(2000);
                    return;
                }

                Exporters.Remove(held.Endpoint);
            }

            held.Provider.Dispose();
        }
    }
}
