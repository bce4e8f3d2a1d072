using System.CommandLine;
using System.Globalization;
using Google.Protobuf.Collections;
using Platform.Cli.Output;
using Platform.Cli.Server;
using Platform.V1;

namespace Platform.Cli.Commands;

/// <summary><c>platform queues</c>.</summary>
internal static class QueuesCommand
{
    public static Command Create(CommandRunner runner) => new("queues", "Look at the tenant queues.") { List(runner) };

    private static ExampledCommand List(CommandRunner runner)
    {
        var command = new ExampledCommand("list", "List queues with quota and use.", "platform queues list");
        runner.Handle(command, async call =>
        {
            var queues = await call.Session.Cluster.ListQueuesAsync(new ListQueuesRequest(), call.Session.Call(call.Cancellation));
            call.Print(queues, () =>
            {
                var table = new TextTable("QUEUE", "PENDING", "RUNNING", "IN USE", "QUOTA", "WEIGHT");
                foreach (var queue in queues.Queues)
                {
                    table.Add(
                        ResourceNames.Short(queue.Name), queue.PendingJobs.ToString(CultureInfo.InvariantCulture), queue.RunningJobs.ToString(CultureInfo.InvariantCulture),
                        Counts(queue.Used), Counts(queue.NominalQuota), Show.Number(queue.Weight));
                }

                table.Write(call.Output, "There are no queues.");
            });
        });
        return command;
    }

    private static string Counts(MapField<string, int> counts) =>
        counts.Count == 0 ? "-" : string.Join(", ", counts.OrderBy(count => count.Key, StringComparer.Ordinal).Select(count => $"{count.Value} {count.Key}"));
}
