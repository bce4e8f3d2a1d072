using System.Net.Sockets;
using Dapr.Client;
using Grpc.Core;
using Grpc.Net.Client;
using Microsoft.Extensions.Configuration;

namespace Platform.Hosting.Network;

/// <summary>Channels to other services and processes, without TLS.</summary>
public static class GrpcChannels
{
    private const int MaxMessageBytes = 64 << 20;

    /// <summary>Opens a channel; the connection is made by the first call.</summary>
    /// <param name="address"><c>http://host:port</c>, <c>host:port</c> or <c>unix:/path</c>.</param>
    /// <exception cref="ArgumentException">The address has another form.</exception>
    public static GrpcChannel Connect(string address)
    {
        if (address.StartsWith("unix:", StringComparison.Ordinal))
        {
            return ConnectUnix(address["unix:".Length..]);
        }

        string uri = address.Contains("://", StringComparison.Ordinal) ? address : $"http://{address}";
        if (!Uri.TryCreate(uri, UriKind.Absolute, out Uri? parsed) || parsed.Scheme is not ("http" or "https"))
        {
            throw new ArgumentException($"Expected http://host:port, host:port or unix:/path, found '{address}'.", nameof(address));
        }

        return GrpcChannel.ForAddress(parsed, Options(Handler()));
    }

    /// <summary>
    /// Invoker for calls to one service: through the Dapr sidecar when <c>Dapr:AppIds:{service}</c> names its app id
    /// (mTLS, access policy and tracing are then the sidecar's), otherwise straight to the address.
    /// </summary>
    /// <param name="configuration">Configuration of the host.</param>
    /// <param name="service">Service to call: <c>scheduler</c>, <c>gateway</c> and so on.</param>
    /// <param name="address">Its address when no sidecar is configured.</param>
    public static CallInvoker Invoker(IConfiguration configuration, string service, string address)
    {
        string? appId = configuration[$"Dapr:AppIds:{service}"];
        return string.IsNullOrEmpty(appId)
            ? Connect(address).CreateCallInvoker()
            : DaprClient.CreateInvocationInvoker(appId, configuration["Dapr:GrpcEndpoint"], configuration["Dapr:ApiToken"]);
    }

    private static GrpcChannel ConnectUnix(string path)
    {
        var endpoint = new UnixDomainSocketEndPoint(path);
        SocketsHttpHandler handler = Handler();
        handler.ConnectCallback = async (_, cancellation) =>
        {
            var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            try
            {
                await socket.ConnectAsync(endpoint, cancellation);
                return new NetworkStream(socket, ownsSocket: true);
            }
            catch
            {
                socket.Dispose();
                throw;
            }
        };
        return GrpcChannel.ForAddress("http://localhost", Options(handler));
    }

    private static SocketsHttpHandler Handler() => new()
    {
        EnableMultipleHttp2Connections = true,
        UseProxy = false,
        KeepAlivePingDelay = TimeSpan.FromSeconds(20),
        KeepAlivePingTimeout = TimeSpan.FromSeconds(10),
        KeepAlivePingPolicy = HttpKeepAlivePingPolicy.WithActiveRequests,
        ConnectTimeout = TimeSpan.FromSeconds(10),
        PooledConnectionIdleTimeout = TimeSpan.FromMinutes(10),
    };

    private static GrpcChannelOptions Options(SocketsHttpHandler handler) => new()
    {
        HttpHandler = handler,
        DisposeHttpClient = true,
        MaxReceiveMessageSize = MaxMessageBytes,
        MaxSendMessageSize = MaxMessageBytes,
        // A service that has just come up is found again within a second.
        InitialReconnectBackoff = TimeSpan.FromMilliseconds(100),
        MaxReconnectBackoff = TimeSpan.FromSeconds(1),
    };
}
