using Platform.Core.Gangs;
using Platform.Formats;
using Platform.Hosting.Ranks;
using Platform.Torch.Collectives;
using Platform.Torch.Collectives.Nccl;
using Platform.Torch.Cuda;
using Platform.Worker.Engine.Checkpoints;
using Platform.Worker.Engine.Data;
using Platform.Worker.Engine.Training;

namespace Platform.Worker.Engine;

/// <summary>What a rank reports about an exception.</summary>
/// <param name="Code">Kind of failure.</param>
/// <param name="Message">What happened.</param>
/// <param name="IsPermanent">Trying again cannot help.</param>
/// <param name="IsConsequence">Another rank failed first; its report should come first too.</param>
public sealed record RankFailure(FailureCode Code, string Message, bool IsPermanent, bool IsConsequence)
{
    /// <summary>The checkpoint that could not be read, relative to the artifact root.</summary>
    public string? Checkpoint { get; init; }

    /// <summary>Classifies an exception.</summary>
    public static RankFailure Of(Exception exception) => exception switch
    {
        PlanRefusedException => Own(FailureCode.WorkloadError, exception, isPermanent: true),
        InputUnreadableException => Own(FailureCode.InputUnreadable, exception, isPermanent: true),
        CheckpointUnreadableException unreadable => Own(FailureCode.CheckpointCorrupt, exception, isPermanent: false) with { Checkpoint = unreadable.Directory },
        CheckpointWriteException => Own(FailureCode.WorkloadError, exception, isPermanent: false),
        ModelFormatException => Own(FailureCode.CheckpointCorrupt, exception, isPermanent: true),
        DivergedException => Own(FailureCode.Diverged, exception, isPermanent: true),
        StaleAttemptException => Own(FailureCode.Stale, exception, isPermanent: false),
        CudaException or NcclException => Own(FailureCode.DevicesUnavailable, exception, isPermanent: false),
        CollectiveTimeoutException => Consequence(FailureCode.RankHung, exception),
        CollectiveAbortedException or CollectiveConnectException => Consequence(FailureCode.RankExited, exception),
        TimeoutException => Own(FailureCode.StartTimeout, exception, isPermanent: false),
        NotSupportedException => Own(FailureCode.WorkloadError, exception, isPermanent: true),
        _ => new(FailureCode.WorkloadError, $"{exception.GetType().Name}: {exception.Message}", IsPermanent: false, IsConsequence: false),
    };

    private static RankFailure Own(FailureCode code, Exception exception, bool isPermanent) => new(code, exception.Message, isPermanent, false);

    private static RankFailure Consequence(FailureCode code, Exception exception) => new(code, exception.Message, false, true);
}
