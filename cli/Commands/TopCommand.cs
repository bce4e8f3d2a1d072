using System.CommandLine;
using System.Globalization;
using Platform.Cli.Output;
using Platform.Cli.Server;
using Platform.V1;

namespace Platform.Cli.Commands;

/// <summary><c>platform top</c>: nodes, devices and unfinished jobs, redrawn until Ctrl-C; once where nobody looks at a screen.</summary>
internal static class TopCommand
{
    private static readonly JobState[] Unfinished = [JobState.Running, JobState.Starting, JobState.Stopping, JobState.Queued, JobState.Paused];

    public static Command Create(CommandRunner runner)
    {
        var interval = new Option<double>("--interval") { Description = "Seconds between looks.", HelpName = "SECONDS", DefaultValueFactory = _ => 2 };
        var once = new Option<bool>("--once") { Description = "Look once." };
        var command = new ExampledCommand("top", "Watch nodes, devices and jobs.", "platform top", "platform top --once") { interval, once };
        runner.Handle(command, async call =>
        {
            var seconds = call.Parse.GetValue(interval);
            if (!(seconds is >= 0.1 and <= 3600))
                throw new CommandException($"--interval: Expected 0.1 to 3600 seconds, found {seconds.ToString(CultureInfo.InvariantCulture)}.");
            var isLive = call.Terminal.IsInteractive && call.Format == OutputFormat.Table && !call.Parse.GetValue(once);
            try
            {
                do
                {
                    var (nodes, jobs) = (await NodesAsync(call), await JobsAsync(call));
                    var picture = new StringWriter { NewLine = "\n" };
                    if (call.Format == OutputFormat.Table)
                    {
                        Write(picture, nodes, jobs);
                    }
                    else
                    {
                        MessageWriter.WriteNext(picture, nodes, call.Format);
                        MessageWriter.WriteNext(picture, jobs, call.Format);
                    }

                    // Home, the picture with each line's rest erased, and everything below it erased.
                    call.Output.Write(isLive ? $"\u001b[H{picture.ToString().Replace("\n", "\u001b[K\n", StringComparison.Ordinal)}\u001b[J" : picture.ToString());
                    await call.Output.FlushAsync(call.Cancellation);
                    if (isLive)
                        await Task.Delay(TimeSpan.FromSeconds(seconds), call.Cancellation);
                }
                while (isLive);
            }
            catch (OperationCanceledException) when (call.Cancellation.IsCancellationRequested)
            {
                // Ctrl-C is how one leaves.
            }

            return ExitCode.Success;
        });
        return command;
    }

    private static async Task<ListNodesResponse> NodesAsync(CommandCall call)
    {
        var all = new ListNodesResponse();
        do
        {
            var page = await call.Session.Cluster.ListNodesAsync(new ListNodesRequest { PageToken = all.NextPageToken }, call.Session.Call(call.Cancellation));
            all.Nodes.AddRange(page.Nodes);
            all.NextPageToken = page.NextPageToken;
        }
        while (all.NextPageToken.Length > 0);
        return all;
    }

    private static async Task<ListJobsResponse> JobsAsync(CommandCall call)
    {
        var all = new ListJobsResponse();
        foreach (var state in Unfinished)
        {
            var page = await call.Session.Jobs.ListJobsAsync(
                new ListJobsRequest { Parent = call.Session.Names.Parent, State = state, PageSize = 50 }, call.Session.Call(call.Cancellation));
            all.Jobs.AddRange(page.Jobs);
        }

        return all;
    }

    private static void Write(TextWriter output, ListNodesResponse nodes, ListJobsResponse jobs)
    {
        var (devices, held) = (nodes.Nodes.Sum(node => node.Devices.Count), nodes.Nodes.Sum(node => node.Devices.Sum(device => device.AllocatedMilli)) / 1000.0);
        output.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{DateTime.Now:HH:mm:ss}  {nodes.Nodes.Count(node => node.State == NodeState.Ready)} of {nodes.Nodes.Count} nodes ready, {held:0.##} of {devices} devices in use, {jobs.Jobs.Count(job => job.State == JobState.Running)} jobs running, {jobs.Jobs.Count(job => job.State == JobState.Queued)} waiting"));
        output.WriteLine();
        var machines = new TextTable("NODE", "STATE", "DEVICES", "IN USE");
        foreach (var node in nodes.Nodes)
        {
            machines.Add(
                ResourceNames.Short(node.Name), Show.State(node.State),
                string.Join(", ", node.Devices.GroupBy(device => device.Kind).Select(kind => string.Create(CultureInfo.InvariantCulture, $"{kind.Count()} {kind.Key}"))),
                string.Concat(node.Devices.OrderBy(device => device.Index).Select(device => device.AllocatedMilli switch { 0 => "·", < 1000 => "▄", _ => "█" })));
        }

        machines.Write(output, "There are no nodes.");
        output.WriteLine();
        var table = new TextTable("JOB", "STATE", "LAYOUT", "STEP", "LOSS", "TOKENS/S", "MFU", "LEFT", "QUEUE");
        foreach (var job in jobs.Jobs)
        {
            var progress = job.Progress ?? new TrainingProgress();
            table.Add(
                ResourceNames.Short(job.Name), Show.State(job.State), Show.Layout(job.Layout ?? job.Spec?.Parallelism),
                string.Create(CultureInfo.InvariantCulture, $"{progress.Step}/{progress.TotalSteps}"), progress.HasLoss ? Show.Loss(progress.Loss) : "",
                progress.HasTokensPerSecond ? Show.Count(progress.TokensPerSecond) : "",
                job.Measured is { ModelFlopsUtilization: > 0 } measured ? (measured.ModelFlopsUtilization * 100).ToString("0.0", CultureInfo.InvariantCulture) + "%" : "",
                progress.Eta is { } eta ? Show.Span(eta.ToTimeSpan()) : "", job.Spec?.Queue is { Length: > 0 } queue ? queue : "default");
        }

        table.Write(output, "No job is unfinished.");
    }
}
