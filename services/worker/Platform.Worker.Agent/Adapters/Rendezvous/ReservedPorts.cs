using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using Platform.Worker.Agent.Core;

namespace Platform.Worker.Agent.Adapters.Rendezvous;

/// <summary>
/// Ports on which the first ranks of command gangs will listen. From when the node prepares until that rank is started the agent
/// keeps the port bound, without listening, so that the machine gives it to nobody who asks for any free port.
/// </summary>
internal sealed class ReservedPorts : IDisposable
{
    private readonly ConcurrentDictionary<AttemptKey, Socket> _held = new();

    /// <summary>The port of an attempt, kept from now on.</summary>
    /// <exception cref="SocketException">The machine has no port left.</exception>
    public int Reserve(AttemptKey attempt)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Any, 0));
        Socket held = _held.GetOrAdd(attempt, socket);
        if (held != socket)
        {
            socket.Dispose();
        }

        return ((IPEndPoint)(held.LocalEndPoint ?? throw new InvalidOperationException("A bound socket has an address."))).Port;
    }

    /// <summary>Leaves the port to the program, or to anybody once the attempt is over.</summary>
    public void Release(AttemptKey attempt)
    {
        if (_held.TryRemove(attempt, out Socket? held))
        {
            held.Dispose();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (AttemptKey attempt in _held.Keys)
        {
            Release(attempt);
        }
    }
}
