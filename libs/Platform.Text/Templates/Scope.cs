namespace Platform.Text.Templates;

/// <summary>Names and their values. A loop's body and a macro have scopes of their own: what they set is gone after them.</summary>
internal sealed class Scope(Scope? parent)
{
    private readonly Dictionary<string, Value> _values = new(StringComparer.Ordinal);

    internal Value? Find(string name)
    {
        for (var scope = this; scope is not null; scope = scope.Parent)
        {
            if (scope._values.TryGetValue(name, out var value))
            {
                return value;
            }
        }
        return null;
    }

    internal void Set(string name, Value value) => _values[name] = value;

    private Scope? Parent => parent;
}
