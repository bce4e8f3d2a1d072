using System.Globalization;
using Prometheus;

namespace Platform.Gateway;

/// <summary>The gateway's figures for Prometheus.</summary>
public static class GatewayMetrics
{
    private static readonly Histogram Duration = Metrics.CreateHistogram(
        "platform_gateway_request_duration_seconds",
        "Time from a request's arrival to the last byte of its answer.",
        new HistogramConfiguration
        {
            LabelNames = ["operation", "code"],
            Buckets = [.01, .02, .04, .08, .16, .32, .64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92],
        });

    private static readonly Counter Requests = Metrics.CreateCounter(
        "platform_gateway_requests_total",
        "Requests answered, by operation and status.",
        "operation",
        "code");

    private static readonly Histogram FirstToken = Metrics.CreateHistogram(
        "platform_gateway_time_to_first_token_seconds",
        "Time from a request's arrival at the gateway to the first token from a replica.",
        new HistogramConfiguration
        {
            LabelNames = ["gen_ai_request_model"],
            Buckets = [.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10],
        });

    /// <summary>Counts an answered request.</summary>
    public static void Request(string operation, int code, TimeSpan duration)
    {
        string label = code.ToString(CultureInfo.InvariantCulture);
        Requests.WithLabels(operation, label).Inc();
        Duration.WithLabels(operation, label).Observe(duration.TotalSeconds);
    }

    /// <summary>Records the time to a request's first token.</summary>
    public static void TimeToFirstToken(string model, TimeSpan time) => FirstToken.WithLabels(model).Observe(time.TotalSeconds);
}
