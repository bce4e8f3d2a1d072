namespace Platform.Core.Specs;

/// <summary>Names that people give to jobs, queues and models.</summary>
public static class ResourceId
{
    /// <summary>Longest name.</summary>
    public const int MaxLength = 63;

    /// <summary>The rule as a phrase of an error message.</summary>
    public const string Rule = "use 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends";

    /// <summary>Whether a text is such a name.</summary>
    public static bool IsValid(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return name.Length is > 0 and <= MaxLength
            && name.All(letter => letter is (>= 'a' and <= 'z') or (>= '0' and <= '9') or '-')
            && name[0] != '-' && name[^1] != '-';
    }
}
