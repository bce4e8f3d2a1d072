using System.Collections.Concurrent;
using Platform.Internal.V1;

namespace Platform.Gateway.Inference;

/// <summary>What each deployment's callers have in progress here, those that wait for a replica included.</summary>
public sealed class LoadBoard
{
    private readonly ConcurrentDictionary<(string Project, string Deployment), Load> _loads = new();

    /// <summary>Notes a request until the entry is disposed.</summary>
    /// <param name="route">Deployment it is for.</param>
    /// <param name="tokens">Tokens it may cost at most.</param>
    public Entry Begin(DeploymentRoute route, long tokens) =>
        new(_loads.GetOrAdd((route.Project, route.DeploymentId), static _ => new Load()), tokens);

    /// <summary>The load of every deployment with requests in progress.</summary>
    public IReadOnlyList<DeploymentLoad> Read() =>
    [
        .. from entry in _loads
           let load = entry.Value.Read()
           where load.Requests > 0
           select new DeploymentLoad
           {
               Project = entry.Key.Project,
               DeploymentId = entry.Key.Deployment,
               OngoingRequests = load.Requests,
               OutstandingTokens = load.Tokens,
           },
    ];

    internal sealed class Load
    {
        private readonly Lock _gate = new();
        private int _requests;
        private long _tokens;

        public void Add(int requests, long tokens)
        {
            lock (_gate)
            {
                _requests += requests;
                _tokens += tokens;
            }
        }

        public (int Requests, long Tokens) Read()
        {
            lock (_gate)
                return (_requests, _tokens);
        }
    }

    /// <summary>One request in progress; disposing it takes it off the board.</summary>
    public sealed class Entry : IDisposable
    {
        private readonly Load _load;
        private long _left;
        private bool _ended;

        internal Entry(Load load, long tokens)
        {
            (_load, _left) = (load, tokens);
            load.Add(1, tokens);
        }

        /// <summary>Some of its tokens arrived.</summary>
        public void Received(int tokens)
        {
            long taken = Math.Min(tokens, _left);
            _left -= taken;
            _load.Add(0, -taken);
        }

        /// <inheritdoc/>
        public void Dispose()
        {
            if (_ended)
                return;
            _ended = true;
            _load.Add(-1, -_left);
        }
    }
}
