using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;

namespace Platform.Hosting.Network;

/// <summary>The named listeners of one host, and where they are bound once it has started.</summary>
public sealed class Listeners
{
    private readonly List<(string Name, ListenOptions Options)> _bound = [];

    /// <summary>
    /// Addresses by listener: <c>http://127.0.0.1:41311</c>, or <c>unix:/path</c> for a Unix socket. Empty until the
    /// host has started.
    /// </summary>
    public IReadOnlyDictionary<string, string> Addresses
    {
        get
        {
            lock (_bound)
            {
                return _bound.ToDictionary(b => b.Name, b => Describe(b.Options), StringComparer.Ordinal);
            }
        }
    }

    internal void Add(string name, ListenOptions options)
    {
        lock (_bound)
        {
            _bound.Add((name, options));
        }
    }

    private static string Describe(ListenOptions options) => options.EndPoint switch
    {
        UnixDomainSocketEndPoint unix => $"unix:{unix}",
        IPEndPoint { AddressFamily: AddressFamily.InterNetworkV6 } ip => $"http://[{ip.Address}]:{ip.Port}",
        IPEndPoint ip => $"http://{ip.Address}:{ip.Port}",
        EndPoint other => other.ToString() ?? "",
    };
}

/// <summary>Registers listeners and ties endpoints to them.</summary>
public static class ListenerExtensions
{
    /// <summary>Listens for gRPC without TLS (HTTP/2 with prior knowledge).</summary>
    /// <param name="builder">Host.</param>
    /// <param name="name">Name of the listener, as in the ready file.</param>
    /// <param name="address">Where.</param>
    public static WebApplicationBuilder ListenGrpc(this WebApplicationBuilder builder, string name, ListenAddress address) =>
        builder.Listen(name, address, HttpProtocols.Http2);

    /// <summary>Listens for HTTP/1.1.</summary>
    /// <param name="builder">Host.</param>
    /// <param name="name">Name of the listener, as in the ready file.</param>
    /// <param name="address">Where.</param>
    public static WebApplicationBuilder ListenHttp(this WebApplicationBuilder builder, string name, ListenAddress address) =>
        builder.Listen(name, address, HttpProtocols.Http1);

    /// <summary>Listens for gRPC on a Unix socket; a stale socket file is replaced.</summary>
    /// <param name="builder">Host.</param>
    /// <param name="name">Name of the listener.</param>
    /// <param name="path">Path of the socket, at most 107 bytes.</param>
    public static WebApplicationBuilder ListenGrpcUnix(this WebApplicationBuilder builder, string name, string path)
    {
        Listeners listeners = ListenersOf(builder);
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            File.Delete(path);
            kestrel.ListenUnixSocket(path, listen => Configure(listeners, name, listen, HttpProtocols.Http2));
        });
        return builder;
    }

    /// <summary>Addresses of a started host, by listener.</summary>
    public static IReadOnlyDictionary<string, string> Addresses(this WebApplication app) =>
        app.Services.GetRequiredService<Listeners>().Addresses;

    /// <summary>Address of one listener of a started host.</summary>
    /// <exception cref="KeyNotFoundException">There is no such listener, or the host has not started.</exception>
    public static string Address(this WebApplication app, string name) => app.Addresses()[name];

    /// <summary>Serves an endpoint on one listener only; elsewhere it does not exist.</summary>
    public static TBuilder RequireListener<TBuilder>(this TBuilder endpoint, string name)
        where TBuilder : IEndpointConventionBuilder
    {
        endpoint.Add(e => e.Metadata.Add(new ListenerRequirement(name)));
        return endpoint;
    }

    internal static Listeners ListenersOf(WebApplicationBuilder builder)
    {
        if (builder.Services.FirstOrDefault(d => d.ServiceType == typeof(Listeners))?.ImplementationInstance is Listeners known)
        {
            return known;
        }

        var listeners = new Listeners();
        builder.Services.AddSingleton(listeners);
        return listeners;
    }

    internal static Task EnforceListener(HttpContext context, RequestDelegate next)
    {
        if (context.GetEndpoint()?.Metadata.GetMetadata<ListenerRequirement>() is { } required
            && context.Features.Get<ListenerName>()?.Name != required.Name)
        {
            context.SetEndpoint(null);
            context.Response.StatusCode = StatusCodes.Status404NotFound;
            return Task.CompletedTask;
        }

        return next(context);
    }

    private static WebApplicationBuilder Listen(
        this WebApplicationBuilder builder, string name, ListenAddress address, HttpProtocols protocols)
    {
        Listeners listeners = ListenersOf(builder);
        builder.WebHost.ConfigureKestrel(kestrel =>
            kestrel.Listen(address.Resolve(), address.Port, listen => Configure(listeners, name, listen, protocols)));
        return builder;
    }

    private static void Configure(Listeners listeners, string name, ListenOptions listen, HttpProtocols protocols)
    {
        var tag = new ListenerName(name);
        listen.Protocols = protocols;
        listen.Use(next => connection =>
        {
            connection.Features.Set(tag);
            return next(connection);
        });
        listeners.Add(name, listen);
    }

    private sealed record ListenerName(string Name);

    private sealed record ListenerRequirement(string Name);
}
