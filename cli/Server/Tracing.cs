using System.Diagnostics;

namespace Platform.Cli.Server;

/// <summary>
/// Begins the trace that the gateway, the scheduler and the ranks continue: each command is an activity, and the HTTP
/// client sends its W3C <c>traceparent</c> with every call.
/// </summary>
internal static class Tracing
{
    private static readonly ActivitySource Source = new("Platform.Cli");

    static Tracing() => ActivitySource.AddActivityListener(new ActivityListener
    {
        ShouldListenTo = source => source.Name == Source.Name,
        Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllDataAndRecorded,
    });

    /// <summary>Begins a command's activity; it ends when disposed.</summary>
    public static Activity? Begin(string command) => Source.StartActivity($"platform {command}", ActivityKind.Client);
}
