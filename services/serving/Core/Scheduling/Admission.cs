namespace Platform.Serving.Core.Scheduling;

/// <summary>Answer to a submission.</summary>
public abstract record Admission
{
    private Admission()
    {
    }

    /// <summary>The sequences will run, in the order submitted.</summary>
    public sealed record Accepted(IReadOnlyList<SequenceState> Sequences) : Admission;

    /// <summary>There is no room in the queue now; trying again later can help.</summary>
    /// <param name="Live">Sequences that run or wait.</param>
    public sealed record QueueFull(int Live) : Admission;

    /// <summary>The request can never run here.</summary>
    /// <param name="Message">What was asked for and what is possible.</param>
    public sealed record NeverFits(string Message) : Admission;
}
