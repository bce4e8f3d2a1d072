using System.Diagnostics;

namespace Platform.Hosting.Telemetry;

/// <summary>W3C trace context as a string (https://www.w3.org/TR/trace-context/), for messages and launch files.</summary>
public static class TraceContext
{
    /// <summary><c>traceparent</c> of what runs now; null outside any trace.</summary>
    public static string? Current => Activity.Current is { IdFormat: ActivityIdFormat.W3C } activity ? activity.Id : null;

    /// <summary>Context of a <c>traceparent</c>; the default context, which starts a new trace, when there is none.</summary>
    /// <param name="traceParent">Text, or null.</param>
    public static ActivityContext Parse(string? traceParent) =>
        ActivityContext.TryParse(traceParent, null, isRemote: true, out ActivityContext context) ? context : default;

    /// <summary>Starts an activity that continues a remote trace.</summary>
    /// <param name="source">Source.</param>
    /// <param name="name">Name of the activity.</param>
    /// <param name="traceParent">Parent, or null for a new trace.</param>
    /// <param name="kind">Kind of span.</param>
    /// <returns>Null when nobody listens.</returns>
    public static Activity? Continue(
        this ActivitySource source, string name, string? traceParent, ActivityKind kind = ActivityKind.Internal) =>
        source.StartActivity(name, kind, Parse(traceParent));
}
