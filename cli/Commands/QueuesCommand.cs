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
    public static Command Create(CommandRunner runner) => new("queues", "Look at the tenant queues and say what each may use.") { List(runner), Set(runner) };

    private static ExampledCommand List(CommandRunner runner)
    {
        var command = new ExampledCommand("list", "List queues with quota, use, what they borrow and lend, their share, and what is used of their budget.", "platform queues list");
        runner.Handle(command, async call =>
        {
            var queues = await call.Session.Cluster.ListQueuesAsync(new ListQueuesRequest(), call.Session.Call(call.Cancellation));
            call.Print(queues, () =>
            {
                var table = new TextTable("QUEUE", "PENDING", "RUNNING", "IN USE", "QUOTA", "BORROWED", "LENT", "SHARE", "WEIGHT", "BUDGET");
                foreach (var queue in queues.Queues)
                {
                    table.Add(
                        ResourceNames.Short(queue.Name), queue.PendingJobs.ToString(CultureInfo.InvariantCulture), queue.RunningJobs.ToString(CultureInfo.InvariantCulture),
                        Counts(queue.Used), Counts(queue.NominalQuota), Counts(queue.Borrowed), Counts(queue.Lent), Show.Number(queue.Share), Show.Number(queue.Weight), BudgetOf(queue));
                }

                table.Write(call.Output, "There are no queues.");
            });
        });
        return command;
    }

    private static ExampledCommand Set(CommandRunner runner)
    {
        var id = new Argument<string>("QUEUE") { Description = "Queue; it is created if it is new." };
        var parent = new Option<string?>("--parent") { Description = "Queue whose unused quota it may borrow; '' for none.", HelpName = "QUEUE" };
        var nominal = new Option<string?>("--nominal") { Description = "Devices that are its own: cpu=8,cuda=4.", HelpName = "KIND=N,..." };
        var borrowing = new Option<string?>("--borrowing-limit") { Description = "Devices that it may use beyond its own.", HelpName = "KIND=N,..." };
        var lending = new Option<string?>("--lending-limit") { Description = "Devices of its own that others may use while it does not.", HelpName = "KIND=N,..." };
        var weight = new Option<double?>("--weight") { Description = "Its claim relative to other queues.", HelpName = "W" };
        var hours = new Option<string?>("--budget-device-hours") { Description = "Device-hours that its jobs may use up; none for no bound.", HelpName = "HOURS" };
        var money = new Option<string?>("--budget-money") { Description = "What its jobs may cost, in the currency of the configured prices; none for no bound.", HelpName = "AMOUNT" };
        var period = new Option<string?>("--budget-period") { Description = "How long the budget lasts: total (once and for all) or month (anew with each, UTC).", HelpName = "PERIOD" };
        period.AcceptOnlyFromAmong("total", "month");
        var command = new ExampledCommand(
            "set", "Say what a queue may use; what is not given stays.", "platform queues set research --nominal cuda=8 --borrowing-limit cuda=4 --parent company --weight 2")
        {
            id, parent, nominal, borrowing, lending, weight, hours, money, period,
        };
        runner.Handle(command, async call =>
        {
            string name = $"queues/{ResourceNames.Short(call.Parse.GetRequiredValue(id))}";
            var queues = await call.Session.Cluster.ListQueuesAsync(new ListQueuesRequest(), call.Session.Call(call.Cancellation));
            var queue = queues.Queues.FirstOrDefault(known => known.Name == name) ?? new Queue { Name = name, Weight = 1 };
            if (call.Parse.GetValue(parent) is { } above)
                queue.Parent = above.Length == 0 ? "" : $"queues/{ResourceNames.Short(above)}";
            Replace(queue.NominalQuota, "--nominal", call.Parse.GetValue(nominal));
            Replace(queue.BorrowingLimit, "--borrowing-limit", call.Parse.GetValue(borrowing));
            Replace(queue.LendingLimit, "--lending-limit", call.Parse.GetValue(lending));
            queue.Weight = call.Parse.GetValue(weight) ?? queue.Weight;
            Budget(queue, call.Parse.GetValue(hours), call.Parse.GetValue(money), call.Parse.GetValue(period));
            var set = await call.Session.Cluster.UpdateQueueAsync(new UpdateQueueRequest { Queue = queue }, call.Session.Call(call.Cancellation));
            call.PrintCreated(set, set.Name);
        });
        return command;
    }

    private static void Replace(MapField<string, int> counts, string option, string? text)
    {
        if (text is null)
            return;
        counts.Clear();
        foreach (string part in text.Split(',', StringSplitOptions.RemoveEmptyEntries))
        {
            if (part.Split('=') is not [{ Length: > 0 } kind, var number] || !int.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out int count))
                throw new CommandException($"{option}: '{part}' is not understood; expected a kind of device and a number such as cuda=8.");
            counts[kind] = count;
        }
    }

    private static void Budget(Queue queue, string? hours, string? money, string? period)
    {
        var budget = queue.Budget ?? new Budget();
        if (hours is not null)
            Bound("--budget-device-hours", hours, value => budget.DeviceHours = value, budget.ClearDeviceHours);
        if (money is not null)
            Bound("--budget-money", money, value => budget.Money = value, budget.ClearMoney);
        if (period is not null)
            budget.Period = period == "month" ? BudgetPeriod.Month : BudgetPeriod.Total;
        queue.Budget = budget.HasDeviceHours || budget.HasMoney ? budget : null;
        if (queue.Budget is null && period is not null)
            throw new CommandException("--budget-period: there is no budget; give --budget-device-hours or --budget-money too.");
    }

    private static void Bound(string option, string text, Action<double> set, Action clear)
    {
        if (text == "none")
            clear();
        else if (double.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double value))
            set(value);
        else
            throw new CommandException($"{option}: '{text}' is not understood; expected a number of 0 or more, or none.");
    }

    private static string BudgetOf(Queue queue)
    {
        if (queue.Budget is not { } budget)
            return "-";
        var use = queue.BudgetUse ?? new BudgetUse();
        var parts = new List<string>();
        if (budget.HasDeviceHours)
            parts.Add($"{Show.Number(use.DeviceHours)} of {Show.Number(budget.DeviceHours)} device-hours");
        if (budget.HasMoney)
            parts.Add($"{Show.Cost(use.Money)} of {Show.Cost(budget.Money)} money");
        return string.Join(", ", parts) + (budget.Period == BudgetPeriod.Month ? " this month" : "") + (use.Exhausted ? " (used up)" : "");
    }

    private static string Counts(MapField<string, int> counts) =>
        counts.Count == 0 ? "-" : string.Join(", ", counts.OrderBy(count => count.Key, StringComparer.Ordinal).Select(count => $"{count.Value} {count.Key}"));
}
