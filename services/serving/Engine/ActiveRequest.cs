using System.Threading.Channels;

namespace Platform.Serving.Engine;

/// <summary>
/// A request in the engine, as its caller sees it. The engine writes updates, one consumer reads them; the channel ends after
/// the last choice's last update. Its capacity covers the longest output, so the engine never waits for a slow reader.
/// </summary>
internal sealed class ActiveRequest
{
    private readonly Channel<ChoiceUpdate> _updates;
    private readonly Action _wake;
    private volatile bool _isCancelled;

    public ActiveRequest(GenerationRequest request, int longestOutput, long submittedAt, Action wake)
    {
        Request = request;
        SubmittedAt = submittedAt;
        OpenChoices = request.Choices;
        _wake = wake;
        _updates = Channel.CreateBounded<ChoiceUpdate>(new BoundedChannelOptions(request.Choices * (longestOutput + 2))
        {
            SingleReader = true,
            SingleWriter = true,
            AllowSynchronousContinuations = false,
        });
    }

    public GenerationRequest Request { get; }

    /// <summary>Updates in order.</summary>
    public ChannelReader<ChoiceUpdate> Updates => _updates.Reader;

    /// <summary>Timestamp of the submission.</summary>
    public long SubmittedAt { get; }

    /// <summary>Prompt tokens that were found in the prefix cache; known from the first update on.</summary>
    public int CachedPromptTokens { get; set; }

    /// <summary>
    /// Time of the iterations it took part in, of each the share that its tokens had among all tokens computed in it. Read it
    /// after the last update.
    /// </summary>
    public double ComputeSeconds { get; set; }

    /// <summary>Tokens that the longest of its ended choices produced here.</summary>
    public int MostTokens { get; set; }

    public bool IsCancelled => _isCancelled;

    internal int OpenChoices { get; private set; }

    /// <summary>Asks the engine to end the request; it does within one iteration. Harmless after its end.</summary>
    public void Cancel()
    {
        _isCancelled = true;
        _wake();
    }

    internal void Publish(ChoiceUpdate update)
    {
        if (!_updates.Writer.TryWrite(update))
            throw new InvalidOperationException("A request got more updates than its longest output has tokens.");
        if (update.Finish is not null && --OpenChoices == 0)
            _updates.Writer.Complete();
    }
}
