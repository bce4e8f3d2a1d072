namespace Platform.Torch.Collectives;

/// <summary>Where a rank lives and how its peers reach it.</summary>
/// <param name="WorldRank">Rank in the world.</param>
/// <param name="NodeName">Name of its machine; ranks with the same name share memory.</param>
/// <param name="Host">Host name or address at which it listens.</param>
/// <param name="Port">Port at which it listens.</param>
public sealed record RankEndpoint(int WorldRank, string NodeName, string Host, int Port);
