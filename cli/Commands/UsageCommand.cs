using System.CommandLine;
using System.Globalization;
using Google.Protobuf.WellKnownTypes;
using Platform.Cli.Output;
using Platform.Cli.Server;
using Platform.V1;

namespace Platform.Cli.Commands;

/// <summary><c>platform usage</c>.</summary>
internal static class UsageCommand
{
    public static Command Create(CommandRunner runner)
    {
        var by = new Option<string>("--by") { Description = "What to count by: queue, user or job.", DefaultValueFactory = _ => "queue", HelpName = "KEY" };
        by.AcceptOnlyFromAmong("queue", "user", "job");
        var since = new Option<string?>("--since") { Description = "Only what was used from this time on (UTC).", HelpName = "TIME" };
        var until = new Option<string?>("--until") { Description = "Only what was used before this time (UTC).", HelpName = "TIME" };
        var queue = new Option<string?>("--queue") { Description = "Only of this queue.", HelpName = "QUEUE" };
        var user = new Option<string?>("--user") { Description = "Only of this user: the name of an API key.", HelpName = "USER" };
        var limit = new Option<int>("--limit") { Description = "Rows at most, those that used most; 0 for 1,000.", HelpName = "N" };
        var command = new ExampledCommand(
            "usage", "Show the device-hours that queues, users or jobs used, and what they cost.",
            "platform usage --by user --since 2026-11-01")
        {
            by, since, until, queue, user, limit,
        };
        runner.Handle(command, async call =>
        {
            var request = new QueryUsageRequest
            {
                GroupBy = call.Parse.GetValue(by) switch { "user" => UsageGrouping.User, "job" => UsageGrouping.Job, _ => UsageGrouping.Queue },
                StartTime = Time("--since", call.Parse.GetValue(since)),
                EndTime = Time("--until", call.Parse.GetValue(until)),
                Queue = call.Parse.GetValue(queue) is { Length: > 0 } name ? $"queues/{ResourceNames.Short(name)}" : "",
                User = call.Parse.GetValue(user) ?? "",
                Limit = call.Parse.GetValue(limit),
            };
            var usage = await call.Session.Cluster.QueryUsageAsync(request, call.Session.Call(call.Cancellation));
            call.Print(usage, () =>
            {
                var table = new TextTable(call.Parse.GetValue(by)?.ToUpperInvariant() ?? "QUEUE", "DEVICE-HOURS", "BY KIND", "COST", "ATTEMPTS");
                foreach (var row in usage.Rows)
                    Add(table, request.GroupBy == UsageGrouping.Job ? row.Name : ResourceNames.Short(row.Name), row);
                if (usage.Rows.Count > 1)
                    Add(table, "(all)", usage.Total);
                table.Write(call.Output, "Nothing was used.");
            });
        });
        return command;
    }

    private static void Add(TextTable table, string name, DeviceUsage row) => table.Add(
        name, Show.Number(row.DeviceHours),
        string.Join(", ", row.DeviceHoursByKind.OrderBy(kind => kind.Key, StringComparer.Ordinal).Select(kind => $"{Show.Number(kind.Value)} {kind.Key}")),
        row.HasCost ? Show.Cost(row.Cost) : "-", row.Attempts.ToString(CultureInfo.InvariantCulture));

    private static Timestamp? Time(string option, string? text)
    {
        if (text is null)
            return null;
        return DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out var time)
            ? Timestamp.FromDateTimeOffset(time)
            : throw new CommandException($"{option}: '{text}' is not a time; expected one such as 2026-11-01 or 2026-11-01T12:00.");
    }
}
