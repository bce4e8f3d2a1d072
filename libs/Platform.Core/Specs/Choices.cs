namespace Platform.Core.Specs;

/// <summary>Values a field chooses from and how each is spelled.</summary>
/// <typeparam name="T">Kind of value.</typeparam>
internal sealed class Choices<T>
    where T : notnull
{
    private readonly (string Name, T Value)[] _choices;

    /// <summary>Creates the choices, each value spelled once.</summary>
    public Choices(params (string Name, T Value)[] choices) => _choices = choices;

    /// <summary>The spellings, in order.</summary>
    public IEnumerable<string> Names => _choices.Select(choice => choice.Name);

    /// <summary>Finds a value by its spelling.</summary>
    public (string Name, T Value)? Find(string name)
    {
        foreach (var choice in _choices)
        {
            if (choice.Name == name)
                return choice;
        }

        return null;
    }

    /// <summary>How a value is spelled.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The value is not a choice.</exception>
    public string Spell(T value)
    {
        foreach (var choice in _choices)
        {
            if (EqualityComparer<T>.Default.Equals(choice.Value, value))
                return choice.Name;
        }

        throw new ArgumentOutOfRangeException(nameof(value), value, "Not one of the choices.");
    }
}

/// <summary>Choices that are plain text.</summary>
internal static class Choices
{
    /// <summary>Choices whose value is their spelling.</summary>
    public static Choices<string> Of(params string[] names) => new([.. names.Select(name => (name, name))]);
}
