using System.Text.Json.Nodes;
using Platform.Core.Validation;

namespace Platform.Core.Specs;

/// <summary>Everything found wrong with one input so far, and which fields can no longer be relied on.</summary>
internal sealed class ViolationList
{
    private readonly List<Violation> _found = [];
    private readonly HashSet<string> _doubtful = new(StringComparer.Ordinal);

    /// <summary>Whether nothing was found.</summary>
    public bool IsEmpty => _found.Count == 0;

    /// <summary>Notes a violation.</summary>
    public void Add(string field, string message)
    {
        _found.Add(new Violation(field, message));
        _doubtful.Add(field);
    }

    /// <summary>Marks a field whose value is not what its author meant, so that no rule judges it.</summary>
    public void Doubt(string field) => _doubtful.Add(field);

    /// <summary>Whether a field, or something that contains it, is already known to be wrong.</summary>
    public bool IsDoubtful(string field)
    {
        for (var path = field; ; path = path[..path.LastIndexOf('.')])
        {
            if (_doubtful.Contains(path))
                return true;
            if (!path.Contains('.', StringComparison.Ordinal))
                return _doubtful.Contains("");
        }
    }

    /// <summary>Notes a violation of a rule over several fields, unless one of them is doubtful already.</summary>
    /// <param name="holds">Whether the rule holds.</param>
    /// <param name="fields">Fields the rule looks at; the first is the one to blame.</param>
    /// <param name="message">What to say.</param>
    public void Require(bool holds, ReadOnlySpan<string> fields, string message)
    {
        if (holds)
            return;
        foreach (var field in fields)
        {
            if (IsDoubtful(field))
                return;
        }

        Add(fields[0], message);
    }

    /// <summary>The value if nothing was found, else the violations in the order of the input.</summary>
    public Validated<T> Conclude<T>(JsonNode? input, T value)
    {
        if (IsEmpty)
            return new Validated<T>.Valid(value);
        var order = new Dictionary<string, int>(StringComparer.Ordinal);
        Number(input, "", order);
        return new Validated<T>.Invalid([.. _found.OrderBy(violation => Place(violation.Field, order))]);
    }

    private static void Number(JsonNode? node, string path, Dictionary<string, int> order)
    {
        order.TryAdd(path, order.Count);
        switch (node)
        {
            case JsonObject json:
                foreach (var (key, child) in json)
                    Number(child, path.Length == 0 ? key : $"{path}.{key}", order);
                break;
            case JsonArray list:
                for (var i = 0; i < list.Count; i++)
                    Number(list[i], $"{path}[{i}]", order);
                break;
        }
    }

    private static int Place(string field, Dictionary<string, int> order)
    {
        for (var path = field; path.Length > 0; path = FieldPath.Parent(path))
        {
            if (order.TryGetValue(path, out var place))
                return place;
        }

        return 0;
    }
}
