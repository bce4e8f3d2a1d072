using System.Collections.Concurrent;
using Grpc.Net.Client;
using Platform.Gateway.Core;
using Platform.Hosting.Network;
using Platform.Internal.V1;

namespace Platform.Gateway.Inference;

/// <summary>Connections to replicas and the tokens asked of each. Owns its channels.</summary>
public sealed class ReplicaPool : IDisposable
{
    private readonly ConcurrentDictionary<string, Replica> _replicas = new();

    /// <summary>Chooses a replica for a prompt and counts the tokens it is asked for until the lease is disposed.</summary>
    /// <param name="endpoints">Candidates, at least one.</param>
    /// <param name="prompt">Prompt.</param>
    /// <param name="tokens">Tokens the request may cost at most.</param>
    public ReplicaLease Rent(IReadOnlyList<string> endpoints, IReadOnlyList<int> prompt, long tokens)
    {
        var loads = endpoints.Select(endpoint => new ReplicaLoad(endpoint, Of(endpoint).Outstanding)).ToList();
        var chosen = ReplicaRouter.Choose(loads, ReplicaRouter.PrefixHash(prompt));
        return new ReplicaLease(Of(chosen.Endpoint), chosen.Endpoint, tokens);
    }

    /// <summary>Closes connections to replicas that are gone and idle.</summary>
    /// <param name="alive">Endpoints in the routing table.</param>
    public void Trim(IReadOnlySet<string> alive)
    {
        foreach (var (endpoint, replica) in _replicas)
        {
            if (!alive.Contains(endpoint) && replica.Outstanding == 0 && _replicas.TryRemove(endpoint, out _))
                replica.Channel.Dispose();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var replica in _replicas.Values)
            replica.Channel.Dispose();
        _replicas.Clear();
    }

    private Replica Of(string endpoint) => _replicas.GetOrAdd(endpoint, static address => new Replica(address));

    internal sealed class Replica
    {
        private long _outstanding;

        public Replica(string address)
        {
            Channel = GrpcChannels.Connect(address);
            Client = new EngineService.EngineServiceClient(Channel);
        }

        public GrpcChannel Channel { get; }

        public EngineService.EngineServiceClient Client { get; }

        public long Outstanding => Interlocked.Read(ref _outstanding);

        public void Add(long tokens) => Interlocked.Add(ref _outstanding, tokens);
    }
}

/// <summary>A replica chosen for one request; disposing it takes what is left of its tokens off the replica's load.</summary>
public sealed class ReplicaLease : IDisposable
{
    private readonly ReplicaPool.Replica _replica;
    private long _left;

    internal ReplicaLease(ReplicaPool.Replica replica, string endpoint, long tokens)
    {
        _replica = replica;
        _left = tokens;
        Endpoint = endpoint;
        replica.Add(tokens);
    }

    /// <summary>Address of the engine.</summary>
    public string Endpoint { get; }

    /// <summary>The engine.</summary>
    public EngineService.EngineServiceClient Client => _replica.Client;

    /// <summary>Some of the tokens arrived.</summary>
    public void Received(int tokens)
    {
        long taken = Math.Min(tokens, _left);
        _left -= taken;
        _replica.Add(-taken);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _replica.Add(-_left);
        _left = 0;
    }
}
