using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace Platform.Hosting.Network;

/// <summary>Where a service listens: a host or an IP address, and a port; port 0 takes any free one.</summary>
/// <param name="Host"><c>localhost</c>, <c>*</c> for all interfaces, a host name or an IP address.</param>
/// <param name="Port">0 to 65535.</param>
public sealed record ListenAddress(string Host, int Port)
{
    /// <summary>Any free port of the loopback interface.</summary>
    public static ListenAddress Loopback { get; } = new("127.0.0.1", 0);

    /// <summary>Reads <c>host:port</c>; IPv6 addresses stand in brackets.</summary>
    /// <param name="text">Text to read.</param>
    /// <param name="address">The address.</param>
    public static bool TryParse(string? text, [NotNullWhen(true)] out ListenAddress? address)
    {
        address = null;
        int colon = text?.LastIndexOf(':') ?? -1;
        if (text is null || colon <= 0
            || !int.TryParse(text.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out int port) || port > ushort.MaxValue)
        {
            return false;
        }

        string host = text[..colon];
        if (host.StartsWith('[') && host.EndsWith(']'))
        {
            host = host[1..^1];
        }
        else if (host.Contains(':', StringComparison.Ordinal) || host.Contains('/', StringComparison.Ordinal))
        {
            return false;
        }

        address = new ListenAddress(host, port);
        return true;
    }

    /// <summary>The interface to bind.</summary>
    /// <exception cref="SocketException">The host name has no address.</exception>
    public IPAddress Resolve() => Host switch
    {
        "*" or "+" => IPAddress.Any,
        "localhost" => IPAddress.Loopback,
        _ => IPAddress.TryParse(Host, out IPAddress? parsed)
            ? parsed
            : Dns.GetHostAddresses(Host).FirstOrDefault(a => a.AddressFamily == AddressFamily.InterNetwork)
              ?? throw new SocketException((int)SocketError.HostNotFound),
    };

    /// <inheritdoc/>
    public override string ToString() =>
        Host.Contains(':', StringComparison.Ordinal) ? $"[{Host}]:{Port}" : $"{Host}:{Port}";
}
