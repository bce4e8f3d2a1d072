using System.Text.Json;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Platform.Hosting.Artifacts;
using Platform.Hosting.Network;

namespace Platform.Hosting;

/// <summary>
/// Once the host has started, logs where it listens and, with <c>--ready-file PATH</c>, writes it to a file:
/// <c>{"service":"gateway","pid":4711,"addresses":{"grpc":"http://127.0.0.1:41311"}}</c>. The file appears whole or
/// not at all and is removed when the host stops.
/// </summary>
internal sealed partial class ReadyFile(string service, string? path, Listeners listeners, ILogger<ReadyFile> logger)
    : IHostedLifecycleService
{
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);

    public Task StartedAsync(CancellationToken cancellationToken)
    {
        foreach ((string name, string address) in listeners.Addresses)
        {
            LogListening(logger, service, name, address);
        }

        if (!string.IsNullOrEmpty(path))
        {
            AtomicFile.WriteText(
                Path.GetFullPath(path),
                JsonSerializer.Serialize(new { service, pid = Environment.ProcessId, addresses = listeners.Addresses }, Json));
        }

        return Task.CompletedTask;
    }

    public Task StoppingAsync(CancellationToken cancellationToken)
    {
        if (!string.IsNullOrEmpty(path))
        {
            File.Delete(path);
        }

        return Task.CompletedTask;
    }

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    [LoggerMessage(EventId = 1010, Level = LogLevel.Information, Message = "{Service} listens on {Name} at {Address}")]
    private static partial void LogListening(ILogger logger, string service, string name, string address);
}
