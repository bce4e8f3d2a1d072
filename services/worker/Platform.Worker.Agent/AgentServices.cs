using System.Reflection;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Platform.Core.Cluster;
using Platform.Hosting.Artifacts;
using Platform.Hosting.Bus;
using Platform.Hosting.Configuration;
using Platform.Hosting.Network;
using Platform.Hosting.Telemetry;
using Platform.Worker.Agent.Adapters;
using Platform.Worker.Agent.Adapters.Processes;
using Platform.Worker.Agent.Adapters.Ranks;
using Platform.Worker.Agent.Adapters.Rendezvous;
using Platform.Worker.Agent.Adapters.Scheduler;
using Platform.Worker.Agent.Core;

namespace Platform.Worker.Agent;

/// <summary>Registration of the agent's parts.</summary>
internal static class AgentServices
{
    public static void AddAgent(this WebApplicationBuilder builder)
    {
        AgentOptions options = builder.AddPlatformOptions<AgentOptions>("Agent");
        builder.AddPlatformOptions<ArtifactOptions>("Artifacts");
        if (builder.Configuration["Bus:Transport"] == "scheduler")
        {
            builder.Services.TryAddSingleton<IMessageBus, SchedulerBus>();
        }

        builder.AddPlatformBus();
        bool isUsable = !options.Validate().Any();
        if (!isUsable)
        {
            // BuildPlatform reports why.
            return;
        }

        AgentDirectory directory = AgentDirectory.Open(options);
        builder.ListenGrpcUnix(AgentApplication.RankListener, directory.SocketPath);
        builder.ListenGrpc(
            AgentApplication.RendezvousListener,
            ListenAddress.TryParse(options.Listen, out ListenAddress? listen) ? listen : new ListenAddress(options.AdvertisedHost, 0));
        if (ListenAddress.TryParse(options.MetricsListen, out ListenAddress? metrics))
        {
            builder.ListenHttp(AgentApplication.MetricsListener, metrics);
        }

        IServiceCollection services = builder.Services;
        NodeInventory inventory = Inventory(options);
        // By factories, so that the host disposes what it holds.
        services.AddSingleton(_ => directory);
        services.AddSingleton(inventory);
        services.AddSingleton(new MonotonicClock(TimeProvider.System));
        services.AddSingleton(new AgentStateHolder(AgentState.Initial(inventory, Guid.NewGuid().ToString("N"), directory.Epoch)));
        services.AddSingleton<AgentEvents>();
        services.AddSingleton<AgentAddress>();
        services.AddSingleton<AttemptTable>();
        services.AddSingleton<RendezvousTable>();
        services.AddSingleton<ReservedPorts>();
        services.AddSingleton<ProcessRecords>();
        services.AddSingleton<ProcessStarter>();
        services.AddSingleton<Preflight>();
        services.AddSingleton<SchedulerLink>();
        services.AddSingleton<NoticeWatch>();
        services.AddSingleton<LeaseLoop>();
        services.AddSingleton<ReportSender>();
        services.AddSingleton<ProgressPublisher>();
        string otlpEndpoint = ProcessTelemetry.EndpointOf(builder.Configuration) ?? "";
        services.AddSingleton(provider => ActivatorUtilities.CreateInstance<EffectRunner>(provider, otlpEndpoint));
        services.AddSingleton<AgentLoop>();
        services.AddHostedService<AgentRunner>();
    }

    private static NodeInventory Inventory(AgentOptions options)
    {
        long memory = options.MemoryBytes > 0 ? options.MemoryBytes : GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 4 * 3;
        return new NodeInventory(
            options.Node,
            options.DeviceKind == "cuda"
                ? [.. NvidiaSmi.List(options.GpuTool).Take(options.Devices)]
                : [.. Enumerable.Range(0, options.Devices).Select(i => new DeviceInfo(i, options.DeviceKind, memory / options.Devices))],
            memory,
            options.Topology,
            Assembly.GetExecutingAssembly().GetName().Version?.ToString(3) ?? "0")
        {
            Group = options.Group,
            Spot = options.Spot,
            Cluster = options.Cluster,
        };
    }
}
