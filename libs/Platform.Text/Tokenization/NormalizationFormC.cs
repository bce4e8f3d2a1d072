using System.Globalization;
using System.Text;

namespace Platform.Text.Tokenization;

/// <summary>
/// Unicode normalization form C (Unicode Standard Annex #15). The base class library's is a no-operation in programs
/// that run without ICU, as these do; a tokenizer that asks for the form (the Qwen family) would silently get other ids.
/// </summary>
public static class NormalizationFormC
{
    private const int HangulSyllables = 0xAC00;
    private const int HangulLeading = 0x1100;
    private const int HangulVowels = 0x1161;
    private const int HangulTrailing = 0x11A7;
    private const int VowelCount = 21;
    private const int TrailingCount = 28;
    private const int SyllableCount = 19 * VowelCount * TrailingCount;

    private static readonly CanonicalData Data = CanonicalData.Load();

    /// <summary>False when a text is certainly in form C; true when it must be looked at closely.</summary>
    public static bool MayChange(ReadOnlySpan<char> text)
    {
        // Every character below U+0300 is in form C, whatever stands around it.
        if (text.IndexOfAnyInRange('\u0300', '\uFFFF') < 0)
        {
            return false;
        }
        foreach (var rune in text.EnumerateRunes())
        {
            if (Data.Unstable[rune.Value])
            {
                return true;
            }
        }
        return false;
    }

    /// <summary>The text in form C.</summary>
    public static string Normalize(ReadOnlySpan<char> text)
    {
        var points = new List<int>(text.Length);
        foreach (var rune in text.EnumerateRunes())
        {
            Decompose(rune.Value, points);
        }
        Reorder(points);
        Compose(points);
        var result = new StringBuilder(points.Count);
        Span<char> units = stackalloc char[2];
        foreach (var point in points)
        {
            result.Append(units[..new Rune(point).EncodeToUtf16(units)]);
        }
        return result.ToString();
    }

    private static void Decompose(int point, List<int> points)
    {
        if (point is >= HangulSyllables and < HangulSyllables + SyllableCount)
        {
            var syllable = point - HangulSyllables;
            points.Add(HangulLeading + (syllable / (VowelCount * TrailingCount)));
            points.Add(HangulVowels + (syllable % (VowelCount * TrailingCount) / TrailingCount));
            if (syllable % TrailingCount != 0)
            {
                points.Add(HangulTrailing + (syllable % TrailingCount));
            }
        }
        else if (Data.Decompositions.TryGetValue(point, out var parts))
        {
            Decompose(parts.First, points);
            if (parts.Second is { } second)
            {
                Decompose(second, points);
            }
        }
        else
        {
            points.Add(point);
        }
    }

    /// <summary>Sorts each run of combining marks by class, keeping the order of equals.</summary>
    private static void Reorder(List<int> points)
    {
        for (var start = 0; start < points.Count; start++)
        {
            if (Data.Class(points[start]) == 0)
            {
                continue;
            }
            var end = start + 1;
            while (end < points.Count && Data.Class(points[end]) != 0)
            {
                end++;
            }
            if (end - start > 1)
            {
                var sorted = points.GetRange(start, end - start).OrderBy(Data.Class).ToList();
                for (var i = 0; i < sorted.Count; i++)
                {
                    points[start + i] = sorted[i];
                }
            }
            start = end;
        }
    }

    private static void Compose(List<int> points)
    {
        int? starter = null;
        var lastClass = 0;
        var write = 0;
        for (var read = 0; read < points.Count; read++)
        {
            var point = points[read];
            var pointClass = Data.Class(point);
            // A mark is blocked from its starter by one of the same or a higher class, a starter by anything between.
            var adjacent = starter is { } at && write == at + 1;
            if (starter is { } s && (adjacent || (lastClass != 0 && lastClass < pointClass)) && Composed(points[s], point) is { } composed)
            {
                points[s] = composed;
                continue;
            }
            if (pointClass == 0)
            {
                starter = write;
            }
            lastClass = pointClass;
            points[write++] = point;
        }
        points.RemoveRange(write, points.Count - write);
    }

    private static int? Composed(int first, int second)
    {
        if (first is >= HangulLeading and < HangulLeading + 19 && second is >= HangulVowels and < HangulVowels + VowelCount)
        {
            return HangulSyllables + ((((first - HangulLeading) * VowelCount) + second - HangulVowels) * TrailingCount);
        }
        if (first is >= HangulSyllables and < HangulSyllables + SyllableCount && (first - HangulSyllables) % TrailingCount == 0
            && second is > HangulTrailing and < HangulTrailing + TrailingCount)
        {
            return first + second - HangulTrailing;
        }
        return Data.Compositions.TryGetValue((first, second), out var composed) ? composed : null;
    }

    private sealed class CanonicalData
    {
        private readonly Dictionary<int, byte> _classes = [];

        internal Dictionary<int, (int First, int? Second)> Decompositions { get; } = [];

        internal Dictionary<(int First, int Second), int> Compositions { get; } = [];

        /// <summary>Points whose presence can mean that a text is not in form C.</summary>
        internal bool[] Unstable { get; } = new bool[0x110000];

        internal int Class(int point) => _classes.TryGetValue(point, out var value) ? value : 0;

        internal static CanonicalData Load()
        {
            var data = new CanonicalData();
            using var stream = typeof(NormalizationFormC).Assembly.GetManifestResourceStream("canonical.txt")
                ?? throw new InvalidOperationException("The assembly lacks its Unicode data.");
            using var reader = new StreamReader(stream, Encoding.ASCII);
            while (reader.ReadLine() is { } line)
            {
                if (!line.StartsWith('#'))
                {
                    data.Add(line.Split(' '));
                }
            }
            Array.Fill(data.Unstable, true, HangulVowels, VowelCount);
            Array.Fill(data.Unstable, true, HangulTrailing + 1, TrailingCount - 1);
            return data;
        }

        private void Add(string[] fields)
        {
            var first = int.Parse(fields[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            var second = int.Parse(fields[2], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            int? third = fields.Length > 3 && fields[0] != "R" ? int.Parse(fields[3], NumberStyles.HexNumber, CultureInfo.InvariantCulture) : null;
            switch (fields[0])
            {
                case "R":
                    for (var point = first; point <= second; point++)
                    {
                        _classes.Add(point, byte.Parse(fields[3], CultureInfo.InvariantCulture));
                        Unstable[point] = true;
                    }
                    break;
                case "C" when third is { } last:
                    Decompositions.Add(first, (second, last));
                    Compositions.Add((second, last), first);
                    Unstable[last] = true;
                    break;
                default:
                    Decompositions.Add(first, (second, third));
                    Unstable[first] = true;
                    break;
            }
        }
    }
}
