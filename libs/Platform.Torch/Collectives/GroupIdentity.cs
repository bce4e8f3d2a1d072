namespace Platform.Torch.Collectives;

/// <summary>Who a group is and which member this process is; builds the sentences that name ranks.</summary>
internal sealed record GroupIdentity(string Name, int Rank, IReadOnlyList<int> Members)
{
    public int Size => Members.Count;

    public int WorldRank => Members[Rank];

    /// <summary>Checks the members against the world and finds this rank among them.</summary>
    public static GroupIdentity Create(string name, IReadOnlyList<int> members, int worldRank, int worldSize)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(name);
        ArgumentNullException.ThrowIfNull(members);
        var ranks = members.ToArray();
        if (Array.Find(ranks, rank => rank < 0 || rank >= worldSize) is var outside && (outside < 0 || outside >= worldSize))
            throw new ArgumentException($"{name}: rank {outside} is outside the world of {worldSize} ranks", nameof(members));
        if (ranks.Distinct().Count() != ranks.Length)
            throw new ArgumentException($"{name}: a rank appears twice in [{string.Join(", ", ranks)}]", nameof(members));
        var rank = Array.IndexOf(ranks, worldRank);
        if (rank < 0)
            throw new ArgumentException($"{name}: rank {worldRank} is not one of [{string.Join(", ", ranks)}]", nameof(members));
        return new GroupIdentity(name, rank, Array.AsReadOnly(ranks));
    }

    public CollectiveTimeoutException NotEntered(OperationSignature signature, IReadOnlyList<int> missing, TimeSpan timeout) =>
        new($"{Ranks(missing)} {Have(missing)} not entered {signature.Name} of {Name} within {Seconds(timeout)}", missing);

    public CollectiveTimeoutException NotFinished(OperationSignature signature, IReadOnlyList<int> missing, TimeSpan timeout) =>
        new($"{Ranks(missing)} entered {signature.Name} of {Name} and {Have(missing)} not finished it within {Seconds(timeout)}", missing);

    public CollectiveTimeoutException NotSent(OperationSignature signature, int peer, TimeSpan timeout) =>
        new($"rank {Members[peer]} has not sent message #{signature.Sequence} to rank {WorldRank} of {Name} within {Seconds(timeout)}", [Members[peer]]);

    public CollectiveTimeoutException NotReceived(OperationSignature signature, int peer, TimeSpan timeout) =>
        new($"rank {Members[peer]} has not received the messages before #{signature.Sequence} from rank {WorldRank} of {Name} within {Seconds(timeout)}", [Members[peer]]);

    public CollectiveMismatchException Mismatch(OperationSignature mine, OperationSignature theirs, int peer) =>
        new(mine.Kind == (int)CollectiveKind.Message
            ? $"rank {WorldRank} receives {mine.Describe()} where rank {Members[peer]} sent {theirs.Describe()} in {Name}"
            : $"rank {WorldRank} entered {mine.Describe()} where rank {Members[peer]} entered {theirs.Describe()} in {Name}");

    public CollectiveAbortedException Aborted(string reason) => new($"{Name} was aborted: {reason}", reason);

    /// <summary>For a peer whose process, or whose membership of the group, has ended.</summary>
    public CollectiveAbortedException Gone(OperationSignature signature, IReadOnlyList<int> peers, string how)
    {
        var reason = $"{Ranks(peers)} {how} while rank {WorldRank} waited in {signature.Name} of {Name}";
        return new CollectiveAbortedException(reason, reason);
    }

    private static string Have(IReadOnlyList<int> ranks) => ranks.Count == 1 ? "has" : "have";

    private static string Ranks(IReadOnlyList<int> ranks) => ranks.Count switch
    {
        0 => "no rank",
        1 => $"rank {ranks[0]}",
        _ => $"ranks {string.Join(", ", ranks.Take(ranks.Count - 1))} and {ranks[^1]}",
    };

    private static string Seconds(TimeSpan timeout) => $"{timeout.TotalSeconds:0.###} s";
}
