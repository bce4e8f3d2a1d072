using Google.Protobuf.WellKnownTypes;
using Platform.Core.Validation;
using Platform.Hosting.Errors;
using Platform.Scheduler.Data;
using Platform.V1;

namespace Platform.Scheduler.Grpc;

/// <summary>What is asked of the account.</summary>
internal sealed record UsageQuery(UsageKey By, string? Queue, string? User, DateTimeOffset From, DateTimeOffset To, int Limit);

/// <summary>Usage as messages of the API.</summary>
internal static class UsageMessages
{
    private const int DefaultLimit = 1000;
    private const int LargestLimit = 100_000;

    /// <summary>Reads a query; throws everything that is wrong with it at once.</summary>
    public static UsageQuery Read(QueryUsageRequest request, DateTimeOffset now)
    {
        var violations = new List<Violation>();
        string? queue = request.Queue.Length > 0 ? QueueMessages.Short(request.Queue, "queue", violations) : null;
        DateTimeOffset from = TimeOf(request.StartTime) ?? DateTimeOffset.UnixEpoch, to = TimeOf(request.EndTime) ?? now;
        if (from >= to)
        {
            violations.Add(new Violation("start_time", $"Expected a time before the end ({to:u}), found {from:u}."));
        }

        if (request.Limit is < 0 or > LargestLimit)
        {
            violations.Add(new Violation("limit", $"Expected 0 to {LargestLimit}, found {request.Limit}."));
        }

        var by = request.GroupBy switch
        {
            UsageGrouping.User => UsageKey.User,
            UsageGrouping.Job => UsageKey.Resource,
            _ => UsageKey.Queue,
        };
        return violations.Count > 0
            ? throw new InvalidRequestException(violations)
            : new UsageQuery(by, queue, request.User.Length > 0 ? request.User : null, from, to < now ? to : now, request.Limit == 0 ? DefaultLimit : request.Limit);
    }

    public static QueryUsageResponse Of(IReadOnlyList<UsageSum> sums, UsageQuery query)
    {
        var response = new QueryUsageResponse { Total = Of("", sums) };
        response.Rows.AddRange(sums.GroupBy(sum => sum.Name).Select(group => Of(NameOf(query.By, group.Key), [.. group]))
            .OrderByDescending(row => row.DeviceHours).ThenBy(row => row.Name, StringComparer.Ordinal).Take(query.Limit));
        return response;
    }

    private static DeviceUsage Of(string name, IReadOnlyCollection<UsageSum> sums)
    {
        var usage = new DeviceUsage { Name = name, DeviceHours = sums.Sum(sum => sum.DeviceHours), Attempts = sums.Sum(sum => sum.Attempts) };
        foreach (var kind in sums.GroupBy(sum => sum.Kind))
        {
            usage.DeviceHoursByKind[kind.Key] = kind.Sum(sum => sum.DeviceHours);
        }

        if (sums.Any(sum => sum.Priced))
        {
            usage.Cost = sums.Sum(sum => sum.Cost);
        }

        return usage;
    }

    private static string NameOf(UsageKey by, string key) => by switch
    {
        UsageKey.Queue => $"queues/{key}",
        UsageKey.User => $"users/{key}",
        _ => key,
    };

    private static DateTimeOffset? TimeOf(Timestamp? time) => time?.ToDateTimeOffset();
}
