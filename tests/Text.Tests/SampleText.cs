namespace Platform.Text.Tests;

/// <summary>Text with the statistics of words: made from a fixed seed, so that it is the same on every machine.</summary>
internal static class SampleText
{
    private static readonly string[] Words =
    [
        "the", "of", "a", "returns", "value", "method", "documentation", "thread", "collection", "element", "specified", "string",
        "gets", "sets", "initializes", "instance", "class", "represents", "exception", "when", "index", "is", "less", "than", "zero",
        "stream", "buffer", "don't", "it's", "async", "naïve", "größe", "日本", "3.14", "2026", "<see", "cref=\"T:System.String\"/>", "😀",
    ];

    internal static IEnumerable<string> Paragraphs(int count)
    {
        var random = new Random(7);
        string[] syllables = ["ta", "re", "con", "ing", "er", "lo", "mi", "struct", "or", "ba", "di", "en", "ful", "ness"];
        string[] words = [.. Words, .. Enumerable.Range(0, 400).Select(_ => string.Concat(random.GetItems(syllables, random.Next(1, 4))))];
        for (var i = 0; i < count; i++)
        {
            yield return string.Join(' ', Enumerable.Range(0, 60).Select(_ => words[(int)(words.Length * random.NextDouble() * random.NextDouble())])) + ".\n";
        }
    }
}
