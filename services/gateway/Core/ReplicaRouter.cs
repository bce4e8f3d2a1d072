namespace Platform.Gateway.Core;

/// <summary>A replica as the router sees it.</summary>
/// <param name="Endpoint">Address of its engine.</param>
/// <param name="OutstandingTokens">Tokens this gateway has asked it for and not yet received.</param>
public sealed record ReplicaLoad(string Endpoint, long OutstandingTokens);

/// <summary>
/// Chooses the replica for a request: the one that served the same prefix before, while the load is even; the one with
/// the fewest outstanding tokens otherwise.
/// </summary>
public static class ReplicaRouter
{
    /// <summary>Load counts as even while the busiest replica has at most this many outstanding tokens more than the idlest…</summary>
    public const long ImbalanceTokens = 1024;

    /// <summary>…or at most this many times as many.</summary>
    public const double ImbalanceRatio = 1.5;

    /// <summary>Chooses one of the replicas.</summary>
    /// <param name="replicas">Candidates, at least one.</param>
    /// <param name="prefixHash">Hash of the prompt's first tokens; equal prompts and continued chats share it.</param>
    /// <returns>The chosen replica.</returns>
    /// <exception cref="ArgumentException">There are no candidates.</exception>
    public static ReplicaLoad Choose(IReadOnlyList<ReplicaLoad> replicas, ulong prefixHash)
    {
        if (replicas.Count == 0)
            throw new ArgumentException("Expected at least one replica, found none.", nameof(replicas));
        var idlest = replicas[0];
        var busiest = replicas[0];
        foreach (var replica in replicas)
        {
            if (replica.OutstandingTokens < idlest.OutstandingTokens)
                idlest = replica;
            if (replica.OutstandingTokens > busiest.OutstandingTokens)
                busiest = replica;
        }

        bool even = busiest.OutstandingTokens - idlest.OutstandingTokens <= ImbalanceTokens
            || busiest.OutstandingTokens <= ImbalanceRatio * idlest.OutstandingTokens;
        return even ? ByRendezvousHash(replicas, prefixHash) : idlest;
    }

    /// <summary>FNV-1a hash of the first tokens of a prompt.</summary>
    /// <param name="tokens">Prompt.</param>
    /// <param name="length">How many tokens count.</param>
    public static ulong PrefixHash(IReadOnlyList<int> tokens, int length = 64)
    {
        ulong hash = 14695981039346656037;
        for (int i = 0; i < Math.Min(length, tokens.Count); i++)
            hash = (hash ^ (uint)tokens[i]) * 1099511628211;
        return hash;
    }

    // Highest random weight (Thaler and Ravishankar, 1998): when a replica comes or goes, only its own prefixes move.
    private static ReplicaLoad ByRendezvousHash(IReadOnlyList<ReplicaLoad> replicas, ulong prefixHash)
    {
        var best = replicas[0];
        ulong bestWeight = 0;
        foreach (var replica in replicas)
        {
            ulong weight = prefixHash;
            foreach (char c in replica.Endpoint)
                weight = (weight ^ c) * 1099511628211;
            weight ^= weight >> 33;
            weight *= 0xff51afd7ed558ccd;
            weight ^= weight >> 33;
            if (weight >= bestWeight)
            {
                best = replica;
                bestWeight = weight;
            }
        }
        return best;
    }
}
