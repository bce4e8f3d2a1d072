using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Prometheus;

namespace Platform.Hosting.Telemetry;

/// <summary><c>/metrics</c> of a service whose figures have second names.</summary>
internal static class MetricsEndpoint
{
    /// <summary>Maps <c>/metrics</c>, in the text format or that of OpenMetrics as the caller accepts.</summary>
    public static void Map(WebApplication app, MetricAliases aliases) => app.MapGet("/metrics", async (HttpContext context) =>
    {
        var cancellation = context.RequestAborted;
        var isOpenMetrics = context.Request.Headers.Accept.Any(
            accept => accept?.Contains(PrometheusConstants.OpenMetricsContentType, StringComparison.OrdinalIgnoreCase) == true);
        using var own = new MemoryStream();
        await Metrics.DefaultRegistry.CollectAndExportAsTextAsync(
            own, isOpenMetrics ? ExpositionFormat.OpenMetricsText : ExpositionFormat.PrometheusText, cancellation);
        context.Response.ContentType = isOpenMetrics
            ? PrometheusConstants.OpenMetricsContentTypeWithVersionAndEncoding
            : PrometheusConstants.TextContentTypeWithVersionAndEncoding;
        var exposition = Encoding.UTF8.GetString(own.GetBuffer(), 0, (int)own.Length);
        await context.Response.WriteAsync(aliases.Extend(exposition), cancellation);
    });
}
