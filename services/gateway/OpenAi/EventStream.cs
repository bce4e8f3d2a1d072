using System.Buffers;
using System.Text.Json;

namespace Platform.Gateway.OpenAi;

/// <summary>
/// Writes server-sent events (WHATWG HTML, section 9.2) as the OpenAI API uses them: a <c>data:</c> line per chunk and a
/// last <c>data: [DONE]</c>. The response begins with the first event, so that an error before it can still be a status.
/// </summary>
public sealed class EventStream(HttpResponse response)
{
    private static readonly byte[] Prefix = "data: "u8.ToArray();
    private static readonly byte[] End = "\n\n"u8.ToArray();

    /// <summary>Whether an event was written.</summary>
    public bool HasStarted => response.HasStarted;

    /// <summary>Writes one event and sends it at once.</summary>
    public async Task WriteAsync<T>(T data, CancellationToken cancellation)
    {
        Begin();
        response.BodyWriter.Write(Prefix);
        using (var json = new Utf8JsonWriter(response.BodyWriter, new JsonWriterOptions { Encoder = OpenAiJson.Options.Encoder }))
            JsonSerializer.Serialize(json, data, OpenAiJson.Options);
        response.BodyWriter.Write(End);
        await response.BodyWriter.FlushAsync(cancellation);
    }

    /// <summary>Writes one event with a name and sends it at once.</summary>
    public Task WriteAsync<T>(string name, T data, CancellationToken cancellation)
    {
        Begin();
        response.BodyWriter.Write(System.Text.Encoding.UTF8.GetBytes($"event: {name}\n"));
        return WriteAsync(data, cancellation);
    }

    /// <summary>Ends the stream.</summary>
    public async Task CompleteAsync(CancellationToken cancellation)
    {
        Begin();
        response.BodyWriter.Write("data: [DONE]\n\n"u8);
        await response.BodyWriter.FlushAsync(cancellation);
    }

    private void Begin()
    {
        if (response.HasStarted)
            return;
        response.StatusCode = StatusCodes.Status200OK;
        response.ContentType = "text/event-stream; charset=utf-8";
        response.Headers.CacheControl = "no-cache";
        response.Headers["X-Accel-Buffering"] = "no";
    }
}
