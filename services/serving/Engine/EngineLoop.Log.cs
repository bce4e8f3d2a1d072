namespace Platform.Serving.Engine;

internal sealed partial class EngineLoop
{
    [LoggerMessage(EventId = 5001, Level = LogLevel.Error, Message = "An iteration over {Spans} sequences failed; their requests end with an error")]
    private static partial void LogIterationFailed(ILogger logger, Exception exception, int spans);

    [LoggerMessage(EventId = 5003, Level = LogLevel.Warning, Message = "A constrained output ends with an error: {Reason}")]
    private static partial void LogConstraintFailed(ILogger logger, string reason);

    [LoggerMessage(EventId = 5002, Level = LogLevel.Warning, Message = "Requests were still in progress after {Seconds} s and are cancelled")]
    private static partial void LogGraceOver(ILogger logger, double seconds);
}
