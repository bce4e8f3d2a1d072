using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace Platform.Benchmarks.Collectives;

/// <summary>What a pair of processes reaches that does nothing but copy bytes through a loopback socket, one way.</summary>
internal static class LoopbackCopy
{
    private const int BytesPerCall = 1 << 20;

    /// <summary>Milliseconds to send so many bytes to another process and hear that they have all arrived.</summary>
    public static double Measure(int bytes, int repetitions)
    {
        using var receiver = RankProcess.Start($"collectives copy {bytes}");
        var port = int.Parse(receiver.ReadLine(), CultureInfo.InvariantCulture);
        using var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        socket.Connect(IPAddress.Loopback, port);
        var content = new byte[bytes];
        var answer = new byte[1];
        var best = double.PositiveInfinity;
        for (var round = 0; round < 4; round++)
        {
            var start = Stopwatch.GetTimestamp();
            for (var i = 0; i < repetitions; i++)
            {
                for (var sent = 0; sent < bytes;)
                    sent += socket.Send(content.AsSpan(sent, Math.Min(BytesPerCall, bytes - sent)));
                _ = socket.Receive(answer);
            }
            best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalMilliseconds / repetitions);
        }
        return best;
    }

    /// <summary>The receiving child.</summary>
    public static int Run(int bytes)
    {
        using var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen();
        Console.WriteLine(((IPEndPoint?)listener.LocalEndPoint)?.Port);
        using var socket = listener.Accept();
        socket.NoDelay = true;
        var content = new byte[bytes];
        while (true)
        {
            for (var received = 0; received < bytes;)
            {
                var count = socket.Receive(content.AsSpan(received, Math.Min(BytesPerCall, bytes - received)));
                if (count == 0)
                    return 0;
                received += count;
            }
            socket.Send([1]);
        }
    }
}
