using System.CommandLine;
using System.Globalization;
using Grpc.Core;
using Platform.Cli.Reports;
using Platform.Cli.Server;
using Platform.V1;

namespace Platform.Cli.Commands;

/// <summary><c>platform jobs trace</c> and <c>platform jobs report</c>: what is known of a job, as files.</summary>
internal static class JobFilesCommand
{
    /// <summary>The timeline of the ranks.</summary>
    public static Command Trace(CommandRunner runner)
    {
        var (id, file) = (Id(), File("Where to write it; standard output if not given."));
        var command = new ExampledCommand(
            "trace", "Write the timeline of every rank's last steps in the Chrome trace format, for ui.perfetto.dev or chrome://tracing.",
            "platform jobs trace docs-lm-1 -o trace.json")
        {
            id, file,
        };
        runner.Handle(command, async call =>
        {
            var document = await ReadTraceAsync(call, call.Session.Names.Job(call.Parse.GetRequiredValue(id)));
            if (call.Parse.GetValue(file) is not { } name)
            {
                await call.Output.WriteAsync(System.Text.Encoding.UTF8.GetString(document));
                return;
            }

            var events = TraceDocument.Read(document);
            await WriteAsync(call.Terminal.Absolute(name), name, document, call.Cancellation);
            call.Output.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"Wrote {name}: {events.Count} events of {events.Select(each => each.Rank).Distinct().Count()} ranks over {events.Select(each => each.Step).Distinct().Count()} steps."));
        });
        return command;
    }

    /// <summary>Everything about a job on one page.</summary>
    public static Command Report(CommandRunner runner)
    {
        var (id, file) = (Id(), File("Where to write it; JOB-report.html if not given."));
        var command = new ExampledCommand(
            "report", "Write everything about a job into one HTML file: curves, step time, timeline, predicted against measured, events, configuration.",
            "platform jobs report docs-lm-1", "platform jobs report docs-lm-1 -o report.html")
        {
            id, file,
        };
        runner.Handle(command, async call =>
        {
            var name = call.Session.Names.Job(call.Parse.GetRequiredValue(id));
            var job = await call.Session.Jobs.GetJobAsync(new GetJobRequest { Name = name }, call.Session.Call(call.Cancellation));
            var metrics = await call.Session.Jobs.GetMetricsAsync(new GetMetricsRequest { Name = name }, call.Session.Call(call.Cancellation));
            var page = new JobReport(job, metrics.Points, await EventsAsync(call, name), DateTimeOffset.UtcNow).Html();
            var path = call.Parse.GetValue(file) ?? $"{ResourceNames.Short(name)}-report.html";
            await WriteAsync(call.Terminal.Absolute(path), path, System.Text.Encoding.UTF8.GetBytes(page), call.Cancellation);
            call.Output.WriteLine($"Wrote {path}.");
        });
        return command;
    }

    private static Argument<string> Id() => new("JOB") { Description = "Job id or full name." };

    // The same word as the option that every command has: here the format is given and the place is not.
    private static Option<string?> File(string description) => new("--output", "-o") { Description = description, HelpName = "FILE" };

    private static async Task<IReadOnlyList<TraceEvent>> EventsAsync(CommandCall call, string name)
    {
        try
        {
            return TraceDocument.Read(await ReadTraceAsync(call, name));
        }
        catch (RpcException error) when (error.StatusCode is StatusCode.NotFound or StatusCode.Unimplemented)
        {
            return [];
        }
    }

    private static async Task<byte[]> ReadTraceAsync(CommandCall call, string name)
    {
        using var stream = call.Session.Jobs.GetTrace(new GetTraceRequest { Name = name }, call.Session.Follow(call.Cancellation));
        using var document = new MemoryStream();
        await foreach (var piece in stream.ResponseStream.ReadAllAsync(call.Cancellation))
            piece.Chunk.WriteTo(document);
        return document.ToArray();
    }

    private static async Task WriteAsync(string path, string name, byte[] content, CancellationToken cancellation)
    {
        try
        {
            await System.IO.File.WriteAllBytesAsync(path, content, cancellation);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new CommandException($"{name}: The file cannot be written: {error.Message}");
        }
    }
}
