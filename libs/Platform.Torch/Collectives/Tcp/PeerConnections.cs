using System.Collections.Concurrent;
using System.Net.Sockets;
using System.Text;

namespace Platform.Torch.Collectives.Tcp;

/// <summary>
/// Makes and takes connections of one rank. Incoming ones wait here, by purpose, group and sender, until a group asks for
/// them; an abort is acted upon at once.
/// </summary>
internal sealed class PeerConnections : IDisposable
{
    private const int Tellers = 8;
    private static readonly TimeSpan TellTimeout = TimeSpan.FromSeconds(2);

    private readonly object gate = new();
    private readonly HostListener listener;
    private readonly int rank;
    private readonly IReadOnlyList<RankEndpoint> table;
    private readonly byte[] token;
    private readonly CollectiveOptions options;
    private readonly WorldAbort abort;
    private readonly CancellationTokenSource stop = new();
    private readonly Dictionary<(ConnectionPurpose Purpose, string Group, int From), Socket> waiting = [];
    private Task accepting = Task.CompletedTask;
    private bool disposed;

    public PeerConnections(HostListener listener, int rank, IReadOnlyList<RankEndpoint> table, string token, CollectiveOptions options, WorldAbort abort)
    {
        this.listener = listener;
        this.rank = rank;
        this.table = table;
        this.token = Encoding.UTF8.GetBytes(token);
        this.options = options;
        this.abort = abort;
    }

    /// <summary>Begins to answer those who connect.</summary>
    public void Start() => accepting = AcceptAsync();

    /// <summary>Wakes whoever waits for a connection, to look at the abort.</summary>
    public void Wake()
    {
        lock (gate)
            Monitor.PulseAll(gate);
    }

    /// <summary>Connects to a peer for a purpose of a group; the socket does not block.</summary>
    public Socket Connect(ConnectionPurpose purpose, string group, int peer)
    {
        try
        {
            return Open(new Hello(purpose, rank, peer, group), options.ConnectTimeout);
        }
        catch (SocketException exception)
        {
            if (abort.Reason is { } reason)
                throw new CollectiveAbortedException($"{group} was aborted: {reason}", reason);
            throw new CollectiveConnectException($"rank {rank} cannot reach {Name(peer)} for {group}: {exception.Message}", exception);
        }
        catch (IOException exception)
        {
            throw new CollectiveConnectException($"rank {rank} cannot reach {Name(peer)} for {group}: {exception.Message}", exception);
        }
    }

    /// <summary>The connection that a member makes for this purpose, waited for until the deadline; null if it has not come by then.</summary>
    public Socket? Await(ConnectionPurpose purpose, GroupIdentity identity, int peer, Deadline deadline)
    {
        lock (gate)
        {
            Socket? socket;
            while (!waiting.Remove((purpose, identity.Name, identity.Members[peer]), out socket) && !deadline.Expired)
            {
                if (abort.Reason is { } reason)
                    throw identity.Aborted(reason);
                Monitor.Wait(gate, deadline.Remaining);
            }
            return socket;
        }
    }

    /// <summary>Tells every other rank why the world is aborted, as far as they can be reached.</summary>
    public void TellAll(string reason)
    {
        var peers = new ConcurrentQueue<RankEndpoint>(table.Where(endpoint => endpoint.WorldRank != rank));
        var tellers = Enumerable.Range(0, Math.Min(Tellers, peers.Count)).Select(_ => new Thread(Tell) { IsBackground = true }).ToList();
        tellers.ForEach(teller => teller.Start());
        tellers.ForEach(teller => teller.Join());

        void Tell()
        {
            while (peers.TryDequeue(out var peer))
            {
                try
                {
                    Open(new Hello(ConnectionPurpose.Abort, rank, peer.WorldRank, reason), TellTimeout).Dispose();
                }
                catch (Exception exception) when (exception is SocketException or IOException or CollectiveConnectException)
                {
                    // Gone itself, then; it needs no reason any more.
                }
            }
        }
    }

    public void Dispose()
    {
        lock (gate)
        {
            disposed = true;
            foreach (var socket in waiting.Values)
                socket.Dispose();
            waiting.Clear();
        }
        stop.Cancel();
        listener.Dispose();
        accepting.Wait();
        stop.Dispose();
    }

    private Socket Open(Hello hello, TimeSpan timeout)
    {
        var endpoint = table[hello.To];
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            var milliseconds = (int)Math.Clamp(timeout.TotalMilliseconds, 1, int.MaxValue);
            socket.SendTimeout = milliseconds;
            socket.ReceiveTimeout = milliseconds;
            socket.Connect(endpoint.Host, endpoint.Port);
            Handshake.Offer(socket, token, hello, Name(hello.To));
            socket.Blocking = false;
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    private async Task AcceptAsync()
    {
        var handshakes = new List<Task>();
        try
        {
            while (true)
            {
                var socket = await listener.Socket.AcceptAsync(stop.Token);
                handshakes.RemoveAll(task => task.IsCompleted);
                handshakes.Add(WelcomeAsync(socket));
            }
        }
        catch (Exception exception) when (exception is OperationCanceledException or SocketException or ObjectDisposedException)
        {
            // The world is closing, or has lost its listener; who is here stays.
        }
        await Task.WhenAll(handshakes);
    }

    private async Task WelcomeAsync(Socket socket)
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(stop.Token);
        patience.CancelAfter(options.ConnectTimeout);
        try
        {
            socket.NoDelay = true;
            var hello = await Handshake.ReceiveAsync(socket, token, IsExpected, patience.Token);
            if (hello is null || !Place(hello, socket))
                socket.Dispose();
        }
        catch (Exception exception) when (exception is OperationCanceledException or SocketException or IOException or ObjectDisposedException)
        {
            socket.Dispose();
        }
    }

    private bool IsExpected(Hello hello) =>
        hello.To == rank && hello.From != rank && hello.From >= 0 && hello.From < table.Count && Enum.IsDefined(hello.Purpose);

    private bool Place(Hello hello, Socket socket)
    {
        if (hello.Purpose == ConnectionPurpose.Abort)
        {
            ThreadPool.QueueUserWorkItem(_ => abort.AbortAsTold(hello.Topic));
            return false;
        }
        lock (gate)
        {
            if (disposed || !waiting.TryAdd((hello.Purpose, hello.Topic, hello.From), socket))
                return false;
            socket.Blocking = false;
            Monitor.PulseAll(gate);
            return true;
        }
    }

    private string Name(int peer) => $"rank {peer} ({table[peer].Host}:{table[peer].Port})";
}
