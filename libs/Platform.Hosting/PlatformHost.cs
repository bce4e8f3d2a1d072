using Grpc.AspNetCore.Server;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Diagnostics.HealthChecks;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Configuration.Memory;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Console;
using Platform.Hosting.Errors;
using Platform.Hosting.Network;
using Platform.Hosting.Telemetry;
using Prometheus;

namespace Platform.Hosting;

/// <summary>What every service of the platform has: logging, telemetry, health, metrics, reflection and error mapping.</summary>
public static class PlatformHost
{
    private static readonly Lazy<bool> QuietMetrics = new(() =>
    {
        // Meters would appear under names without units and with the wrong type; what matters is declared by hand.
        Metrics.SuppressDefaultMetrics(new SuppressDefaultMetricOptions { SuppressEventCounters = true, SuppressMeters = true });
        return true;
    });

    /// <summary>Creates the builder of a service with <see cref="AddPlatformDefaults"/> applied.</summary>
    /// <param name="service">Name of the service: <c>gateway</c>, <c>scheduler</c>, <c>agent</c>, <c>serving</c>.</param>
    /// <param name="args">Command line; <c>--Section:Key value</c> sets configuration.</param>
    public static WebApplicationBuilder CreateBuilder(string service, string[] args)
    {
        WebApplicationBuilder builder = WebApplication.CreateBuilder(new WebApplicationOptions
        {
            // Nothing reloads: every option is checked once, at the start.
            Args = ["--hostBuilder:reloadConfigOnChange=false", .. args],
            ContentRootPath = AppContext.BaseDirectory,
        });
        return builder.AddPlatformDefaults(service);
    }

    /// <summary>Adds the defaults to a builder.</summary>
    /// <param name="builder">Host.</param>
    /// <param name="service">Name of the service.</param>
    public static WebApplicationBuilder AddPlatformDefaults(this WebApplicationBuilder builder, string service)
    {
        _ = QuietMetrics.Value;
        AddLogging(builder);
        ListenerExtensions.ListenersOf(builder);
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.Http2.MaxStreamsPerConnection = 1024;
            kestrel.Limits.Http2.KeepAlivePingDelay = TimeSpan.FromSeconds(30);
        });
        builder.Services.AddGrpc(Configure);
        builder.Services.AddGrpcReflection();
        builder.Services.AddGrpcHealthChecks().AddCheck("process", () => Microsoft.Extensions.Diagnostics.HealthChecks.HealthCheckResult.Healthy());
        builder.Services.Configure<HostOptions>(options => options.ShutdownTimeout = TimeSpan.FromSeconds(15));
        string serviceName = $"platform-{service}";
        string? endpoint = ProcessTelemetry.EndpointOf(builder.Configuration);
        // First of the hosted services, so that spans of the others' starts are exported and their stops flushed.
        builder.Services.AddSingleton<IHostedService>(_ => new TelemetryLifetime(serviceName, endpoint));
        builder.Services.AddSingleton<IHostedService>(services => new ReadyFile(
            service, builder.Configuration["ready-file"], services.GetRequiredService<Listeners>(),
            services.GetRequiredService<ILogger<ReadyFile>>()));
        return builder;
    }

    /// <summary>
    /// Maps <c>/metrics</c>, <c>/healthz</c> (the process answers), <c>/readyz</c> (its health checks pass),
    /// <c>grpc.health.v1</c> and gRPC reflection, and enforces <see cref="ListenerExtensions.RequireListener"/>.
    /// Call it before mapping the service's own endpoints.
    /// </summary>
    /// <param name="app">Host.</param>
    public static WebApplication MapPlatformDefaults(this WebApplication app) => Map(app, () => app.MapMetrics());

    /// <summary><see cref="MapPlatformDefaults(WebApplication)"/> with second names for some of the figures of <c>/metrics</c>.</summary>
    /// <param name="app">Host.</param>
    /// <param name="aliases">Second names.</param>
    public static WebApplication MapPlatformDefaults(this WebApplication app, MetricAliases aliases) =>
        Map(app, () => MetricsEndpoint.Map(app, aliases));

    /// <summary>
    /// Runs a service until it is told to stop. What hinders its start is printed without a stack trace.
    /// </summary>
    /// <param name="build">Builds the host.</param>
    /// <returns>Exit code: 0, 78 for a configuration that cannot be used, 69 when something needed is not there, else 1.</returns>
    public static async Task<int> RunAsync(Func<WebApplication> build)
    {
        try
        {
            await using WebApplication app = build();
            await app.RunAsync();
            return 0;
        }
        catch (Configuration.InvalidConfigurationException exception)
        {
            await Console.Error.WriteLineAsync(exception.Message);
            return 78;
        }
        catch (PlatformException exception)
        {
            await Console.Error.WriteLineAsync(exception.Message);
            return 69;
        }
        catch (IOException exception)
        {
            // Kestrel reports an address in use this way.
            await Console.Error.WriteLineAsync(exception.Message);
            return 1;
        }
    }

    private static WebApplication Map(WebApplication app, Action mapMetrics)
    {
        app.UseRouting();
        app.Use(ListenerExtensions.EnforceListener);
        mapMetrics();
        app.MapHealthChecks("/healthz", new HealthCheckOptions { Predicate = _ => false });
        app.MapHealthChecks("/readyz");
        app.MapGrpcHealthChecksService();
        app.MapGrpcReflectionService();
        return app;
    }

    private static void Configure(GrpcServiceOptions options)
    {
        options.MaxReceiveMessageSize = 64 << 20;
        options.MaxSendMessageSize = 64 << 20;
        options.Interceptors.Add<ErrorInterceptor>();
    }

    private static void AddLogging(WebApplicationBuilder builder)
    {
        // Lowest precedence: any other source of configuration may change it.
        ((IConfigurationBuilder)builder.Configuration).Sources.Insert(0, new MemoryConfigurationSource
        {
            InitialData = new Dictionary<string, string?>
            {
                ["Logging:LogLevel:Default"] = "Information",
                ["Logging:LogLevel:Microsoft"] = "Warning",
                ["Logging:LogLevel:System"] = "Warning",
                ["Logging:LogLevel:Grpc"] = "Warning",
                ["Logging:LogLevel:MassTransit"] = "Warning",
            },
        });
        builder.Logging.ClearProviders();
        builder.Logging.AddSimpleConsole(console =>
        {
            console.SingleLine = true;
            console.TimestampFormat = "HH:mm:ss.fff ";
            console.UseUtcTimestamp = true;
            console.ColorBehavior = Console.IsOutputRedirected ? LoggerColorBehavior.Disabled : LoggerColorBehavior.Default;
        });
    }

    private sealed class TelemetryLifetime(string serviceName, string? endpoint) : IHostedService, IDisposable
    {
        private IDisposable? _telemetry;

        public Task StartAsync(CancellationToken cancellationToken)
        {
            _telemetry = ProcessTelemetry.Start(serviceName, endpoint);
            return Task.CompletedTask;
        }

        public Task StopAsync(CancellationToken cancellationToken)
        {
            Dispose();
            return Task.CompletedTask;
        }

        public void Dispose() => _telemetry?.Dispose();
    }
}
