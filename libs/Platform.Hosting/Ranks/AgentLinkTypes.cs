using Platform.Core.Gangs;

namespace Platform.Hosting.Ranks;

/// <summary>The agent wants this process to stop.</summary>
/// <param name="Reason">Why, for the log.</param>
/// <param name="Grace">Time until it is killed.</param>
/// <param name="Checkpoint">Save a checkpoint before stopping.</param>
public sealed record StopRequest(string Reason, TimeSpan Grace, bool Checkpoint);

/// <summary>What one collective group of a rank is doing.</summary>
/// <param name="Group">Group, such as <c>tensor 2</c>.</param>
/// <param name="Sequence">Number of the collective the rank entered last, from 1; 0 before the first.</param>
/// <param name="Operation">The collective, such as <c>all-reduce</c>.</param>
/// <param name="SecondsInside">How long the rank has been inside it; 0 when it is not inside one.</param>
/// <param name="Members">World ranks of the group.</param>
/// <param name="WaitingFor">World ranks known not to have come to the operation that the rank is inside.</param>
public sealed record CollectiveStatus(
    string Group, long Sequence, string Operation, double SecondsInside, IReadOnlyList<int> Members, IReadOnlyList<int> WaitingFor);

/// <summary>How a process talks to its agent.</summary>
public sealed record AgentLinkOptions
{
    /// <summary>Time between reports; a report with new points or a new phase goes out at once when the last one is older.</summary>
    public TimeSpan ReportInterval { get; init; } = TimeSpan.FromMilliseconds(500);

    /// <summary>How long the agent may be gone before <see cref="AgentLost"/> is called.</summary>
    public TimeSpan LostAgentGrace { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>How long the agent may take to answer the first call.</summary>
    public TimeSpan HelloTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>How long a commit or a registration is tried.</summary>
    public TimeSpan CommitTimeout { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>
    /// Called once when the agent has been gone for longer than the grace. The default kills this process: without an
    /// agent nobody can tell it that its attempt is over, so it must not go on (fencing).
    /// </summary>
    public Action<string> AgentLost { get; init; } = AgentLink.KillThisProcess;

    /// <summary>Watch standard input, whose other end the agent holds, and count its end as the agent's death.</summary>
    public bool WatchStandardInput { get; init; }
}

/// <summary>Address of a rank.</summary>
/// <param name="Rank">Rank.</param>
/// <param name="Host">Where it listens for its peers.</param>
/// <param name="Port">Port.</param>
/// <param name="Node">Node it runs on; ranks of one node can share memory.</param>
public sealed record RankPeer(int Rank, string Host, int Port, string Node);

/// <summary>The attempt of this process is over: its token is no longer valid, or a newer attempt exists.</summary>
public sealed class StaleAttemptException : Exception
{
    /// <summary>Creates the exception.</summary>
    /// <param name="message">What the agent or the scheduler said.</param>
    /// <param name="inner">The refused call.</param>
    public StaleAttemptException(string message, Exception inner)
        : base(message, inner)
    {
    }
}

/// <summary>Exit codes of rank and replica processes.</summary>
public static class RankExitCode
{
    /// <summary>The work is done.</summary>
    public const int Success = 0;

    /// <summary>It failed and has reported why.</summary>
    public const int Failed = 1;

    /// <summary>It stopped because it was asked to.</summary>
    public const int Stopped = 75;
}

/// <summary>Spelling of <see cref="FailureCode"/> in rank reports.</summary>
public static class FailureReasons
{
    private static readonly Dictionary<string, FailureCode> Codes =
        Enum.GetValues<FailureCode>().ToDictionary(ToReason, StringComparer.Ordinal);

    /// <summary>UPPER_SNAKE form: <c>RANK_EXITED</c>.</summary>
    public static string ToReason(FailureCode code) =>
        string.Concat(code.ToString().Select((c, i) => char.IsUpper(c) && i > 0 ? $"_{c}" : $"{char.ToUpperInvariant(c)}"));

    /// <summary>Code of a reason; <see cref="FailureCode.WorkloadError"/> for one that is not known.</summary>
    public static FailureCode Parse(string reason) =>
        Codes.TryGetValue(reason, out FailureCode code) ? code : FailureCode.WorkloadError;
}
