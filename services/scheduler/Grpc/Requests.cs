using Platform.Core.Validation;
using Platform.Hosting.Errors;
using Platform.Scheduler.Core;

namespace Platform.Scheduler.Grpc;

/// <summary>Reads what requests have in common, or throws what is wrong with it.</summary>
internal static class Requests
{
    public static string Project(string parent) => ResourceNames.TryReadProject(parent)
        ?? throw new InvalidRequestException("parent", $"Expected projects/{{project}}, found '{parent}'.");

    public static (string Project, string Id) Name(string name, string collection, string field = "name") => ResourceNames.TryRead(name, collection)
        ?? throw new InvalidRequestException(field, $"Expected projects/{{project}}/{collection}/{{id}}, found '{name}'.");

    public static string Node(string name) => name.Split('/') is ["nodes", { Length: > 0 } node]
        ? node : throw new InvalidRequestException("name", $"Expected nodes/{{node}}, found '{name}'.");

    /// <summary>Size and start of a page.</summary>
    public static (int Size, long? After) Page(int size, string token)
    {
        var violations = new List<Violation>();
        if (size < 0)
        {
            violations.Add(new Violation("page_size", $"Expected 0 or more, found {size}."));
        }

        if (!PageToken.TryRead(token, out long? after))
        {
            violations.Add(new Violation("page_token", "This is not a token of an earlier page; leave it empty to begin at the first."));
        }

        return violations.Count == 0 ? (PageToken.Size(size), after) : throw new InvalidRequestException(violations);
    }

    /// <summary>A violation when a request id is set and is not a UUID.</summary>
    public static IEnumerable<Violation> RequestId(string requestId)
    {
        if (requestId.Length > 0 && !Guid.TryParseExact(requestId, "D", out _))
        {
            yield return new Violation("request_id", $"Expected a UUID such as {Guid.Empty}, found '{requestId}'.");
        }
    }
}
