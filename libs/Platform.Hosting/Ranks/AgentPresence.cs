using System.Diagnostics;

namespace Platform.Hosting.Ranks;

/// <summary>
/// Notices that the agent is gone: by calls that no longer succeed, or by the end of standard input, whose other end
/// the agent holds open. A thread of its own, so that a starved thread pool cannot delay it.
/// </summary>
internal sealed class AgentPresence(AgentLinkOptions options)
{
    private long _lastSeen = Stopwatch.GetTimestamp();

    public void Seen() => Interlocked.Exchange(ref _lastSeen, Stopwatch.GetTimestamp());

    public void Start(CancellationToken closing)
    {
        new Thread(() => Watch(closing)) { IsBackground = true, Name = "agent presence" }.Start();
        if (options.WatchStandardInput)
        {
            new Thread(() => DrainStandardInput(closing)) { IsBackground = true, Name = "agent pipe" }.Start();
        }
    }

    private void Watch(CancellationToken closing)
    {
        TimeSpan interval = options.LostAgentGrace / 10;
        while (!closing.WaitHandle.WaitOne(interval))
        {
            TimeSpan silence = Stopwatch.GetElapsedTime(Interlocked.Read(ref _lastSeen));
            if (silence > options.LostAgentGrace)
            {
                options.AgentLost($"The agent has not answered for {silence.TotalSeconds:F1} s; without it this process must not go on.");
                return;
            }
        }
    }

    private void DrainStandardInput(CancellationToken closing)
    {
        using Stream input = Console.OpenStandardInput();
        var buffer = new byte[256];
        while (input.Read(buffer) > 0)
        {
        }

        if (!closing.IsCancellationRequested)
        {
            options.AgentLost("The agent that started this process has ended.");
        }
    }
}
