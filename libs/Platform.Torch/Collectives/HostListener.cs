using System.Net;
using System.Net.Sockets;

namespace Platform.Torch.Collectives;

/// <summary>
/// A bound port at which the peers of a world to be will find this rank. Peers may already connect; they are answered once
/// the listener has been given to <see cref="HostCollectives.Connect"/>, which then owns it.
/// </summary>
public sealed class HostListener : IDisposable
{
    internal HostListener(IPAddress address)
    {
        Socket = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            Socket.Bind(new IPEndPoint(address, 0));
            Socket.Listen(1024);
        }
        catch
        {
            Socket.Dispose();
            throw;
        }
        Port = ((IPEndPoint)(Socket.LocalEndPoint ?? throw new InvalidOperationException("a bound socket has an end point"))).Port;
    }

    /// <summary>The port that was chosen.</summary>
    public int Port { get; }

    internal Socket Socket { get; }

    /// <inheritdoc/>
    public void Dispose() => Socket.Dispose();
}
