using System.Globalization;

namespace Platform.Core.Specs;

/// <summary>Sizes in memory as people write them: <c>512MiB</c>, <c>1.5GiB</c>, <c>40GB</c> or plain bytes.</summary>
public static class ByteSize
{
    private static readonly (string Unit, long Bytes)[] Units =
    [
        ("TiB", 1L << 40), ("GiB", 1L << 30), ("MiB", 1L << 20), ("KiB", 1L << 10),
        ("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("KB", 1_000), ("B", 1),
    ];

    /// <summary>Reads a size. Units are case-insensitive; the result must be a whole number of bytes.</summary>
    /// <param name="text">Such as <c>512MiB</c> or <c>1024</c>.</param>
    /// <param name="bytes">The size; 0 when the text is not one.</param>
    /// <returns>Whether the text is a size that is not negative and fits 63 bits.</returns>
    public static bool TryParse(string text, out long bytes)
    {
        ArgumentNullException.ThrowIfNull(text);
        bytes = 0;
        var trimmed = text.Trim();
        long factor = 1;
        foreach (var (unit, unitBytes) in Units)
        {
            if (!trimmed.EndsWith(unit, StringComparison.OrdinalIgnoreCase))
                continue;
            trimmed = trimmed[..^unit.Length].TrimEnd();
            factor = unitBytes;
            break;
        }

        if (!decimal.TryParse(trimmed, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var count))
            return false;
        if (count > long.MaxValue / (decimal)factor)
            return false;
        var product = count * factor;
        if (product != decimal.Truncate(product))
            return false;
        bytes = (long)product;
        return true;
    }

    /// <summary>Writes a size exactly, in the largest binary unit that divides it: <c>512MiB</c>, <c>1000B</c>.</summary>
    /// <param name="bytes">The size, not negative.</param>
    public static string Format(long bytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        foreach (var (unit, unitBytes) in Units)
        {
            if (unit.EndsWith("iB", StringComparison.Ordinal) && bytes != 0 && bytes % unitBytes == 0)
                return string.Create(CultureInfo.InvariantCulture, $"{bytes / unitBytes}{unit}");
        }

        return string.Create(CultureInfo.InvariantCulture, $"{bytes}B");
    }
}
