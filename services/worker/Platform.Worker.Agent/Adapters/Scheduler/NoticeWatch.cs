using Microsoft.Extensions.Logging;
using Platform.Worker.Agent.Core;

namespace Platform.Worker.Agent.Adapters.Scheduler;

/// <summary>Looks out for a notice that this machine is about to be taken away, in a file or at an address, as clouds give it.</summary>
internal sealed partial class NoticeWatch(AgentOptions options, MonotonicClock clock, ILogger<NoticeWatch> logger)
{
    private static readonly TimeSpan FilePause = TimeSpan.FromSeconds(0.5);
    private static readonly TimeSpan AddressPause = TimeSpan.FromSeconds(2);

    private readonly TaskCompletionSource _noticed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private long _leavesAtTicks;

    /// <summary>What is left until the machine goes; null while there is no notice.</summary>
    public TimeSpan? Left => Interlocked.Read(ref _leavesAtTicks) is not 0 and var ticks
        ? TimeSpan.FromTicks(Math.Max(0, ticks - clock.Now.UtcTicks))
        : null;

    /// <summary>Watches until there is a notice; a machine that is given up is not kept.</summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        if (options.NoticeFile.Length == 0 && options.NoticeUrl.Length == 0)
        {
            return;
        }

        using var client = new HttpClient { Timeout = AddressPause };
        var nextAsked = DateTimeOffset.MinValue;
        while (!cancellationToken.IsCancellationRequested)
        {
            string? text = ReadFile();
            if (text is null && options.NoticeUrl.Length > 0 && clock.Now >= nextAsked)
            {
                nextAsked = clock.Now + AddressPause;
                text = await AskAsync(client, cancellationToken);
            }

            if (text is not null)
            {
                var leavesAt = TakingNotice.Read(text, clock.Now, TimeSpan.FromSeconds(options.NoticeSeconds));
                Interlocked.Exchange(ref _leavesAtTicks, leavesAt.UtcTicks);
                _noticed.TrySetResult();
                LogNotice(logger, options.Node, leavesAt);
                return;
            }

            await Task.Delay(FilePause, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    /// <summary>Waits for a time, but not beyond the moment of a notice.</summary>
    public async Task WaitAsync(TimeSpan pause, CancellationToken cancellationToken)
    {
        var delay = Task.Delay(pause, cancellationToken);
        await (_noticed.Task.IsCompleted ? delay : Task.WhenAny(delay, _noticed.Task)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private string? ReadFile()
    {
        try
        {
            return options.NoticeFile.Length > 0 && File.Exists(options.NoticeFile) ? File.ReadAllText(options.NoticeFile) : null;
        }
        catch (IOException)
        {
            // It is being written; the next look finds it whole.
            return null;
        }
    }

    private async Task<string?> AskAsync(HttpClient client, CancellationToken cancellationToken)
    {
        try
        {
            using var response = await client.GetAsync(new Uri(options.NoticeUrl), cancellationToken);
            return response.IsSuccessStatusCode ? await response.Content.ReadAsStringAsync(cancellationToken) : null;
        }
        catch (Exception exception) when (exception is HttpRequestException or OperationCanceledException)
        {
            return null;
        }
    }

    [LoggerMessage(EventId = 2036, Level = LogLevel.Warning, Message = "Node {Node} is to be taken away at {LeavesAt}: its gangs save and leave")]
    private static partial void LogNotice(ILogger logger, string node, DateTimeOffset leavesAt);
}
