using Platform.Hosting;
using Platform.Hosting.Configuration;
using Platform.Hosting.Network;
using Platform.Hosting.Ranks;
using Platform.Serving.Adapters;
using Platform.Serving.Engine;
using Platform.Serving.Execution.Sharding;

namespace Platform.Serving;

/// <summary>A serving replica as a host: gRPC <c>EngineService</c> on one listener, metrics and health on another.</summary>
public static class ServingApplication
{
    /// <summary>Name of the listener of <c>EngineService</c>.</summary>
    public const string EngineListener = "grpc";

    /// <summary>Name of the listener of <c>/metrics</c>, <c>/healthz</c> and <c>/readyz</c>.</summary>
    public const string MetricsListener = "http";

    private static readonly TimeSpan DefaultGrace = TimeSpan.FromSeconds(10);

    /// <summary>Loads the model and builds the host around it; nothing listens before the model is ready.</summary>
    /// <param name="args">Command line; see <c>platform-serving --help</c>.</param>
    /// <param name="configure">Further configuration, or null.</param>
    /// <exception cref="InvalidConfigurationException">The command line is wrong, or is that of an agent.</exception>
    /// <exception cref="FormatException">The model directory cannot be used.</exception>
    /// <exception cref="ReplicaSettingsException">The settings do not fit the model.</exception>
    public static WebApplication Build(string[] args, Action<WebApplicationBuilder>? configure) => CommandLine.Read(args) switch
    {
        CommandLine.Direct direct => Build(args, direct.Settings, direct.Listen, direct.MetricsListen, () => DefaultGrace, configure),
        _ => throw new InvalidConfigurationException([new("--launch", "A replica that an agent started runs as a process of its own.")]),
    };

    /// <summary>Runs the program.</summary>
    /// <param name="args">Command line.</param>
    /// <returns>Exit code.</returns>
    public static async Task<int> RunAsync(string[] args)
    {
        try
        {
            return CommandLine.Read(args) is CommandLine.Launched launched
                ? await LaunchedReplica.RunAsync(launched.Launch)
                : await PlatformHost.RunAsync(() => Build(args, null));
        }
        catch (Exception exception) when (exception is FormatException or ReplicaSettingsException or InvalidConfigurationException or StaleAttemptException)
        {
            await Console.Error.WriteLineAsync(exception.Message);
            return exception is InvalidConfigurationException ? 78 : 1;
        }
    }

    internal static WebApplication Build(
        string[] args, ReplicaSettings settings, ListenAddress listen, ListenAddress metricsListen, Func<TimeSpan> grace,
        Action<WebApplicationBuilder>? configure, TensorPeers? peers = null)
    {
        var builder = PlatformHost.CreateBuilder("serving", args);
        builder.ListenGrpc(EngineListener, listen);
        builder.ListenHttp(MetricsListener, metricsListen);
        var models = ServedModels.Load([settings, .. settings.Others], settings.MemoryBytes, peers);
        builder.Services.AddSingleton(services => new ServedModels([.. models.Select(loaded => new Replica(
            loaded.Settings, loaded.Model, grace, TimeProvider.System, services.GetRequiredService<ILogger<Replica>>(), loaded.Sleep))]));
        builder.Services.AddHostedService(services => services.GetRequiredService<ServedModels>());
        builder.Services.AddHealthChecks().Add(new("engine", services => services.GetRequiredService<ServedModels>(), null, null));
        configure?.Invoke(builder);
        var app = builder.BuildPlatform();
        app.MapPlatformDefaults(ServingMetrics.VllmNames);
        app.MapGrpcService<EngineGrpcService>().RequireListener(EngineListener);
        return app;
    }
}
