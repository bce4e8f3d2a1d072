namespace Platform.Core.Validation;

/// <summary>One thing wrong with an input.</summary>
/// <param name="Field">Path of the field as the user wrote it, such as <c>parallelism.tensor</c> or <c>data.source[1]</c>.</param>
/// <param name="Message">What was found and what is allowed; a whole sentence without the field's name.</param>
public sealed record Violation(string Field, string Message)
{
    /// <inheritdoc/>
    public override string ToString() => $"{Field}: {Message}";
}

/// <summary>Outcome of reading or resolving an input: a value, or everything that is wrong with it.</summary>
/// <typeparam name="T">What was asked for.</typeparam>
public abstract record Validated<T>
{
    private Validated()
    {
    }

    /// <summary>The input is good.</summary>
    /// <param name="Value">What it says.</param>
    public sealed record Valid(T Value) : Validated<T>;

    /// <summary>The input is not good.</summary>
    /// <param name="Violations">All that is wrong with it, never empty, in the order of the input.</param>
    public sealed record Invalid(IReadOnlyList<Violation> Violations) : Validated<T>;
}
