using Google.LongRunning;
using Google.Protobuf.Reflection;
using Google.Rpc;
using Grpc.Core;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Platform.Gateway.ControlPlane;
using Platform.Gateway.Inference;
using Platform.Gateway.OpenAi;
using Platform.Hosting;
using Platform.Hosting.Configuration;
using Platform.Hosting.Network;
using Platform.Internal.V1;
using Platform.V1;

namespace Platform.Gateway;

/// <summary>The gateway as a host: for its own program, for standalone and for tests.</summary>
public static class GatewayApplication
{
    /// <summary>Name of the HTTP/1.1 listener.</summary>
    public const string HttpListener = "http";

    /// <summary>Name of the gRPC listener.</summary>
    public const string GrpcListener = "grpc";

    /// <summary>Builds the host.</summary>
    /// <param name="args">Command line.</param>
    /// <param name="configure">Changes to the builder, made before options are read.</param>
    /// <exception cref="InvalidConfigurationException">Settings are wrong; the message names all of them.</exception>
    public static WebApplication Build(string[] args, Action<WebApplicationBuilder>? configure)
    {
        var builder = PlatformHost.CreateBuilder("gateway", args);
        configure?.Invoke(builder);
        var options = builder.AddPlatformOptions<GatewayOptions>(GatewayOptions.Section);
        if (ListenAddress.TryParse(options.HttpListen, out var http))
            builder.ListenHttp(HttpListener, http);
        if (ListenAddress.TryParse(options.GrpcListen, out var grpc))
            builder.ListenGrpc(GrpcListener, grpc);
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Limits.MaxRequestBodySize = options.MaxRequestBytes);
        AddServices(builder, options);
        var app = builder.BuildPlatform();
        app.UseMiddleware<CallerIdentity>();
        app.MapPlatformDefaults();
        app.MapGrpcService<ForwardedJobService>();
        app.MapGrpcService<ForwardedModelService>();
        app.MapGrpcService<ForwardedDeploymentService>();
        app.MapGrpcService<ForwardedClusterService>();
        app.MapGrpcService<ForwardedOperations>();
        app.MapGrpcService<InferenceGrpcService>();
        app.MapGrpcService<ArtifactGrpcService>();
        app.MapOpenAi();
        return app;
    }

    private static void AddServices(WebApplicationBuilder builder, GatewayOptions options)
    {
        var services = builder.Services;
        // What an error's details or an operation's response may hold, so that it can be written as JSON.
        services.AddGrpc().AddJsonTranscoding(json => json.TypeRegistry = TypeRegistry.FromFiles(
            ErrorDetailsReflection.Descriptor, ModelServiceReflection.Descriptor));
        services.AddSingleton(TimeProvider.System);
        services.AddSingleton(_ => GrpcChannels.Invoker(builder.Configuration, "scheduler", options.SchedulerAddress));
        services.AddSingleton(provider => new JobService.JobServiceClient(provider.GetRequiredService<CallInvoker>()));
        services.AddSingleton(provider => new ModelService.ModelServiceClient(provider.GetRequiredService<CallInvoker>()));
        services.AddSingleton(provider => new DeploymentService.DeploymentServiceClient(provider.GetRequiredService<CallInvoker>()));
        services.AddSingleton(provider => new ClusterService.ClusterServiceClient(provider.GetRequiredService<CallInvoker>()));
        services.AddSingleton(provider => new Operations.OperationsClient(provider.GetRequiredService<CallInvoker>()));
        services.AddSingleton(provider => new EndpointService.EndpointServiceClient(provider.GetRequiredService<CallInvoker>()));
        services.AddSingleton<Forwarder>();
        services.AddSingleton<RoutingTable>();
        services.AddSingleton<ReplicaPool>();
        services.AddSingleton<DeploymentWaker>();
        services.AddSingleton<LoadBoard>();
        services.AddSingleton<InferencePipeline>();
        services.AddSingleton<ModelComparison>();
        services.AddSingleton<ChatCompletions>();
        services.AddSingleton<Completions>().AddSingleton<Embeddings>().AddSingleton<Responses>();
        services.AddHostedService<RouteWatchLoop>();
        services.AddHostedService<LoadReportLoop>();
        services.AddHealthChecks().Add(new HealthCheckRegistration(
            "scheduler",
            provider => new RoutesHealthCheck(provider.GetRequiredService<RoutingTable>()),
            HealthStatus.Unhealthy,
            []));
    }

    private sealed class RoutesHealthCheck(RoutingTable table) : IHealthCheck
    {
        public Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken) =>
            Task.FromResult(table.IsReady
                ? HealthCheckResult.Healthy()
                : HealthCheckResult.Unhealthy("The scheduler has not been heard yet."));
    }
}
