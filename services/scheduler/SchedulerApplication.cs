using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Platform.Hosting;
using Platform.Hosting.Artifacts;
using Platform.Hosting.Bus;
using Platform.Hosting.Configuration;
using Platform.Hosting.Database;
using Platform.Hosting.Network;
using Platform.Scheduler.Adapters;
using Platform.Scheduler.Adapters.Capacity;
using Platform.Scheduler.Data;
using Platform.Scheduler.Grpc;

namespace Platform.Scheduler;

/// <summary>The scheduler as a host, for its own program and for standalone.</summary>
public static class SchedulerApplication
{
    /// <summary>Name of the gRPC listener.</summary>
    public const string GrpcListener = "grpc";

    /// <summary>Name of the listener of metrics and health.</summary>
    public const string MetricsListener = "metrics";

    /// <summary>Builds the host; it begins to lead, or stands by, once it is started.</summary>
    /// <param name="args">Command line; <c>--Scheduler:Listen host:port</c> and so on.</param>
    /// <param name="configure">Changes the host before it is built.</param>
    /// <exception cref="InvalidConfigurationException">Some options are wrong; the message names all of them.</exception>
    public static WebApplication Build(string[] args, Action<WebApplicationBuilder>? configure)
    {
        var builder = PlatformHost.CreateBuilder("scheduler", args);

        // A standby fails its readiness check at every probe, which is as it should be and no error.
        builder.Logging.AddFilter("Microsoft.Extensions.Diagnostics.HealthChecks", LogLevel.None);
        configure?.Invoke(builder);
        var options = builder.AddPlatformOptions<SchedulerOptions>("Scheduler");
        builder.AddPlatformOptions<ArtifactOptions>("Artifacts");
        builder.AddPlatformBus();
        builder.AddPlatformDatabase<SchedulerDbContext>();
        AddListeners(builder, options);
        AddServices(builder.Services);
        var app = builder.BuildPlatform();
        app.MapPlatformDefaults();
        MapServices(app);
        return app;
    }

    private static void AddListeners(WebApplicationBuilder builder, SchedulerOptions options)
    {
        if (ListenAddress.TryParse(options.Listen, out var grpc))
        {
            builder.ListenGrpc(GrpcListener, grpc);
        }

        if (ListenAddress.TryParse(options.MetricsListen, out var metrics))
        {
            builder.ListenHttp(MetricsListener, metrics);
        }
    }

    private static void AddServices(IServiceCollection services)
    {
        services.TryAddSingleton(TimeProvider.System);
        services.AddSingleton<ChangeFeed>();
        services.AddSingleton<ControlView>();
        services.AddSingleton<JobReader>();
        services.AddSingleton<JobSubmission>();
        services.AddSingleton<JobLogs>();
        services.AddSingleton<JobTraces>();
        services.AddSingleton<JobPlanning>();
        services.AddSingleton<JobUpdates>();
        services.AddSingleton<ModelRegistry>();
        services.AddSingleton<MessageRelay>();

        // Stopped in the opposite order: the loop ends while the leadership is still held.
        AddLoop<Leadership>(services);
        AddLoop<CommandSender>(services);
        AddLoop<ControlLoop>(services);
        AddLoop<OperationRunner>(services);
        AddLoop<CheckpointSweeper>(services);
        AddLoop<ReportReceiver>(services);
        services.AddSingleton<ICapacityProvider, LocalProvider>();
        services.AddSingleton<ICapacityProvider, KubernetesProvider>();
        AddLoop<CapacityLoop>(services);
        services.AddHealthChecks().AddCheck<LeadingCheck>("leading");
    }

    private static void AddLoop<T>(IServiceCollection services)
        where T : class, IHostedService
    {
        services.AddSingleton<T>();
        services.AddHostedService(provider => provider.GetRequiredService<T>());
    }

    private static void MapServices(WebApplication app)
    {
        app.MapGrpcService<JobServiceImpl>();
        app.MapGrpcService<ModelServiceImpl>();
        app.MapGrpcService<DeploymentServiceImpl>();
        app.MapGrpcService<ClusterServiceImpl>();
        app.MapGrpcService<OperationsImpl>();
        app.MapGrpcService<NodeServiceImpl>();
        app.MapGrpcService<EndpointServiceImpl>();
    }

    /// <summary>A standby is healthy but not ready: nobody should be sent to it.</summary>
    private sealed class LeadingCheck(ControlView view) : IHealthCheck
    {
        public Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken = default) =>
            Task.FromResult(view.Now.Leading ? HealthCheckResult.Healthy("It leads.") : HealthCheckResult.Unhealthy("It stands by."));
    }
}
