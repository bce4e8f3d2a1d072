using System.Text.Json;
using Platform.Core.Specs;

namespace Platform.Core.Jobs;

/// <summary>
/// Reads where token ids come from: <c>byte</c>, a directory, <c>{train: bpe, vocab_size: N}</c>, <c>{path: DIR}</c> or
/// <c>{byte: true}</c>. Bytes when absent.
/// </summary>
internal static class TokenizerSpecReader
{
    /// <summary>Fewest tokens of a trained tokenizer: the bytes and one special token.</summary>
    private const int SmallestVocabulary = 257;

    public static TokenizerSpec Read(SpecObject data, string key)
    {
        var node = data.Take(key);
        switch (node?.GetValueKind())
        {
            case null:
                return new TokenizerSpec.Bytes();
            case JsonValueKind.String:
                return data.OptionalText(key) switch
                {
                    "byte" or null => new TokenizerSpec.Bytes(),
                    "bpe" => Refused(data, key, "A trained tokenizer needs its size; write { train: bpe, vocab_size: 4096 }."),
                    { } path => new TokenizerSpec.Directory(path),
                };
            case JsonValueKind.Object:
                return ReadObject(data, key, data.Section(key));
            default:
                return Refused(data, key,
                    $"Found {SpecScalar.Show(node)}; expected byte, a directory with tokenizer.json, or {{ train: bpe, vocab_size: 4096 }}.");
        }
    }

    private static TokenizerSpec ReadObject(SpecObject data, string key, SpecObject tokenizer)
    {
        var isBytes = tokenizer.Flag("byte", false);
        var path = tokenizer.OptionalText("path");
        var trains = tokenizer.Has("train");
        tokenizer.Choice("train", Choices.Of("bpe"), "bpe");
        tokenizer.Know("vocab_size");
        if ((isBytes ? 1 : 0) + (tokenizer.Has("path") ? 1 : 0) + (trains ? 1 : 0) > 1)
            return Refused(data, key, "Several kinds of tokenizer are given; keep one of train, path and byte.");
        if (trains)
            return new TokenizerSpec.TrainBpe(tokenizer.Int("vocab_size", SmallestVocabulary, 1 << 20));
        if (tokenizer.Has("vocab_size"))
            tokenizer.Refuse("vocab_size", "A size is only given when a tokenizer is trained; add train: bpe or remove the size.");
        else if (isBytes)
            return new TokenizerSpec.Bytes();
        else if (path is not null)
            return new TokenizerSpec.Directory(path);
        else if (!tokenizer.Has("path"))
            return Refused(data, key, "No kind of tokenizer is given; write one of train: bpe, path: DIR and byte: true.");
        return new TokenizerSpec.Bytes();
    }

    private static TokenizerSpec Refused(SpecObject data, string key, string message)
    {
        data.Refuse(key, message);
        return new TokenizerSpec.Bytes();
    }
}
