using System.Globalization;

namespace Platform.Core.Specs;

/// <summary>Numbers a field may have.</summary>
/// <param name="Min">Smallest, or the bound below it.</param>
/// <param name="Max">Largest, or the bound above it.</param>
/// <param name="ExcludesMin">The smallest itself is not allowed.</param>
/// <param name="ExcludesMax">The largest itself is not allowed.</param>
internal readonly record struct NumberRange(double Min, double Max, bool ExcludesMin = false, bool ExcludesMax = false)
{
    /// <summary>Whether a number is allowed.</summary>
    public bool Contains(double number) =>
        (ExcludesMin ? number > Min : number >= Min) && (ExcludesMax ? number < Max : number <= Max);

    /// <inheritdoc/>
    public override string ToString()
    {
        var low = ExcludesMin ? $"above {Show(Min)}" : $"at least {Show(Min)}";
        var high = ExcludesMax ? $"below {Show(Max)}" : $"at most {Show(Max)}";
        return $"{low} and {high}";
    }

    private static string Show(double number) => number.ToString(CultureInfo.InvariantCulture);
}
