using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Platform.Hosting;
using Platform.Hosting.Configuration;
using Platform.Hosting.Network;
using Platform.Worker.Agent.Adapters;
using Platform.Worker.Agent.Adapters.Ranks;
using Platform.Worker.Agent.Adapters.Rendezvous;

namespace Platform.Worker.Agent;

/// <summary>The node agent as a host of its own.</summary>
public static class AgentApplication
{
    /// <summary>Listener of metrics, health and scrape targets (HTTP/1.1).</summary>
    public const string MetricsListener = "metrics";

    /// <summary>Listener of the rendezvous (gRPC over TCP).</summary>
    public const string RendezvousListener = "rendezvous";

    /// <summary>Listener of RankService (gRPC over a Unix socket).</summary>
    public const string RankListener = "ranks";

    /// <summary>Builds the agent; start it with <c>StartAsync</c> or <c>RunAsync</c>.</summary>
    /// <param name="args">Command line; <c>--Agent:Node a --Agent:DataDirectory /path</c> and so on.</param>
    /// <param name="configure">Changes the builder before options are read; may register a shared bus.</param>
    /// <exception cref="InvalidConfigurationException">The configuration cannot be used.</exception>
    /// <exception cref="Hosting.Errors.UnavailableException">Another agent uses the data directory.</exception>
    public static WebApplication Build(string[] args, Action<WebApplicationBuilder>? configure = null)
    {
        WebApplicationBuilder builder = PlatformHost.CreateBuilder("agent", args);
        configure?.Invoke(builder);
        builder.AddAgent();
        WebApplication app = builder.BuildPlatform();
        app.MapPlatformDefaults();
        app.MapGrpcService<RankServiceEndpoint>().RequireListener(RankListener);
        app.MapGrpcService<RendezvousEndpoint>().RequireListener(RendezvousListener);
        app.MapGet("/sd/targets", (AttemptTable attempts, AgentOptions options) =>
                Results.Json(ScrapeTargets.Of(attempts, options.Node)))
            .RequireListener(MetricsListener);
        return app;
    }
}
