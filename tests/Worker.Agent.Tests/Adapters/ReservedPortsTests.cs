using System.Net;
using System.Net.Sockets;
using Platform.Worker.Agent.Adapters.Rendezvous;
using Platform.Worker.Agent.Core;
using Xunit;

namespace Platform.Worker.Agent.Tests.Adapters;

public sealed class ReservedPortsTests
{
    [Fact]
    public void An_attempt_keeps_its_port_until_it_is_left_to_the_program()
    {
        using var ports = new ReservedPorts();
        var attempt = new AttemptKey("jobs/a", 1);
        int port = ports.Reserve(attempt);

        Assert.Equal(port, ports.Reserve(attempt));
        Assert.NotEqual(port, ports.Reserve(new AttemptKey("jobs/a", 2)));
        ports.Release(attempt);
        Listen(port);
    }

    private static void Listen(int port)
    {
        using var program = new TcpListener(IPAddress.Loopback, port);
        program.Start();
    }
}
