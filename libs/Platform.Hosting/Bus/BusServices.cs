using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Platform.Hosting.Configuration;

namespace Platform.Hosting.Bus;

/// <summary>Registration of the bus.</summary>
public static class BusServices
{
    /// <summary>
    /// Registers <see cref="IMessageBus"/> as section <c>Bus</c> says and connects it when the host starts. An
    /// instance that was registered before (see <see cref="UseSharedBus"/>) is used instead.
    /// </summary>
    /// <param name="builder">Host.</param>
    public static WebApplicationBuilder AddPlatformBus(this WebApplicationBuilder builder)
    {
        BusOptions options = builder.AddPlatformOptions<BusOptions>("Bus");
        builder.Services.TryAddSingleton<IMessageBus>(services =>
        {
            var bus = new MassTransitBus(options, services.GetRequiredService<ILoggerFactory>());
            return options.Faults.Any ? new FaultInjectingBus(bus, options.Faults, TimeProvider.System) : bus;
        });
        // Built-in start order is registration order: whatever is registered later finds the bus connected.
        builder.Services.AddHostedService<BusConnection>();
        return builder;
    }

    /// <summary>Makes a host use a bus that others in the process use too; the host neither starts nor disposes it.</summary>
    /// <param name="services">Services of the host.</param>
    /// <param name="bus">Bus.</param>
    public static IServiceCollection UseSharedBus(this IServiceCollection services, IMessageBus bus)
    {
        services.RemoveAll<IMessageBus>();
        return services.AddSingleton(bus);
    }

    private sealed class BusConnection(IMessageBus bus) : IHostedService
    {
        public Task StartAsync(CancellationToken cancellationToken) =>
            bus is MassTransitBus transport ? transport.StartAsync(cancellationToken) : Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
