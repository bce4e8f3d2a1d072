using System.Collections.Concurrent;
using Grpc.Core;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Platform.Testing.Telemetry.Wire;

namespace Platform.Testing.Telemetry;

/// <summary>A span as it arrived.</summary>
/// <param name="Service"><c>service.name</c> of the process.</param>
/// <param name="Source">Activity source.</param>
/// <param name="Name">Name.</param>
/// <param name="TraceId">Trace, lower-case hex.</param>
/// <param name="SpanId">Span, lower-case hex.</param>
/// <param name="ParentId">Parent span, lower-case hex; empty for a root.</param>
/// <param name="Attributes">Attributes as text.</param>
public sealed record ReceivedSpan(
    string Service, string Source, string Name, string TraceId, string SpanId, string ParentId,
    IReadOnlyDictionary<string, string> Attributes);

/// <summary>A collector of traces for tests: speaks OTLP over gRPC on a free port of the loopback interface.</summary>
public sealed class OtlpReceiver : IAsyncDisposable
{
    private readonly WebApplication _app;
    private readonly ConcurrentQueue<ReceivedSpan> _spans;

    private OtlpReceiver(WebApplication app, ConcurrentQueue<ReceivedSpan> spans)
    {
        _app = app;
        _spans = spans;
        Endpoint = app.Urls.Single();
    }

    /// <summary>Endpoint for <c>OTEL_EXPORTER_OTLP_ENDPOINT</c>.</summary>
    public string Endpoint { get; }

    /// <summary>Everything received so far.</summary>
    public IReadOnlyList<ReceivedSpan> Spans => [.. _spans];

    public static async Task<OtlpReceiver> StartAsync()
    {
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(k => k.Listen(System.Net.IPAddress.Loopback, 0, l => l.Protocols = HttpProtocols.Http2));
        var spans = new ConcurrentQueue<ReceivedSpan>();
        builder.Services.AddSingleton(spans);
        builder.Services.AddGrpc();
        WebApplication app = builder.Build();
        app.MapGrpcService<Collector>();
        await app.StartAsync();
        return new OtlpReceiver(app, spans);
    }

    /// <summary>Waits until a span has arrived.</summary>
    public Task<ReceivedSpan> WaitForAsync(Func<ReceivedSpan, bool> wanted, string what) =>
        Waiting.ForAsync(() => _spans.FirstOrDefault(wanted), $"span: {what}");

    /// <summary>Ancestors of a span that have arrived, nearest first.</summary>
    public IReadOnlyList<ReceivedSpan> AncestorsOf(ReceivedSpan span)
    {
        var ancestors = new List<ReceivedSpan>();
        ReceivedSpan? at = span;
        while (at is not null)
        {
            at = _spans.FirstOrDefault(s => s.TraceId == at.TraceId && s.SpanId == at.ParentId);
            if (at is not null)
            {
                ancestors.Add(at);
            }
        }

        return ancestors;
    }

    public ValueTask DisposeAsync() => _app.DisposeAsync();

    private sealed class Collector(ConcurrentQueue<ReceivedSpan> received) : TraceService.TraceServiceBase
    {
        public override Task<ExportTraceServiceResponse> Export(ExportTraceServiceRequest request, ServerCallContext context)
        {
            foreach (ResourceSpans resource in request.ResourceSpans)
            {
                string service = resource.Resource?.Attributes.FirstOrDefault(a => a.Key == "service.name")?.Value.StringValue ?? "";
                foreach (ScopeSpans scope in resource.ScopeSpans)
                {
                    foreach (Span span in scope.Spans)
                    {
                        received.Enqueue(new ReceivedSpan(
                            service, scope.Scope?.Name ?? "", span.Name, Hex(span.TraceId), Hex(span.SpanId), Hex(span.ParentSpanId),
                            span.Attributes.GroupBy(a => a.Key).ToDictionary(a => a.Key, a => Text(a.First().Value))));
                    }
                }
            }

            return Task.FromResult(new ExportTraceServiceResponse());
        }

        private static string Hex(Google.Protobuf.ByteString bytes) => Convert.ToHexStringLower(bytes.Span);

        private static string Text(AnyValue? value) => value?.ValueCase switch
        {
            AnyValue.ValueOneofCase.StringValue => value.StringValue,
            AnyValue.ValueOneofCase.BoolValue => value.BoolValue.ToString(),
            AnyValue.ValueOneofCase.IntValue => value.IntValue.ToString(System.Globalization.CultureInfo.InvariantCulture),
            AnyValue.ValueOneofCase.DoubleValue => value.DoubleValue.ToString(System.Globalization.CultureInfo.InvariantCulture),
            _ => "",
        };
    }
}
