using System.Text;

namespace Platform.Text.Tokenization;

/// <summary>Tables by id of a model, with its consistency checked.</summary>
internal static class BpeTables
{
    /// <summary>Highest id a tokenizer may have; the largest vocabularies in use have about 300,000 tokens.</summary>
    internal const int MaxId = 4_000_000;

    /// <summary>The bytes of each token by id; empty where there is no token.</summary>
    internal static byte[][] TokenBytes(ByteLevelBpeModel model) =>
        // A token that is no string of stand-ins is an added one that also stands in the vocabulary.
        TokenBytes(model, token => ByteAlphabet.ToBytes(token) ?? Encoding.UTF8.GetBytes(token));

    /// <summary>The bytes of each token by id; empty where there is no token.</summary>
    /// <param name="model">The model.</param>
    /// <param name="spelled">Bytes of a token of the vocabulary.</param>
    internal static byte[][] TokenBytes(BpeModel model, Func<string, byte[]> spelled)
    {
        if (model.VocabularySize > MaxId)
        {
            throw new ArgumentException($"The highest token id is {model.VocabularySize - 1}; at most {MaxId - 1} is allowed.", nameof(model));
        }
        var bytes = new byte[model.VocabularySize][];
        var names = new string?[model.VocabularySize];
        Array.Fill(bytes, []);
        foreach (var (token, id) in model.Vocabulary)
        {
            Claim(names, id, token);
            bytes[id] = spelled(token);
        }
        foreach (var token in model.AddedTokens)
        {
            Claim(names, token.Id, token.Content);
            bytes[token.Id] = Encoding.UTF8.GetBytes(token.Content);
        }
        return bytes;
    }

    /// <summary>Id of each byte's token.</summary>
    internal static int[] ByteIds(BpeModel model)
    {
        var ids = new int[256];
        for (var value = 0; value < 256; value++)
        {
            var token = model is MetaspaceBpeModel ? MetaspaceBpeModel.ByteToken((byte)value) : ByteAlphabet.CharOf((byte)value).ToString();
            ids[value] = model.Vocabulary.TryGetValue(token, out var id)
                ? id
                : throw new ArgumentException($"The vocabulary lacks '{token}', the token of byte 0x{value:X2}; it needs all 256.", nameof(model));
        }
        return ids;
    }

    /// <summary>Rank and result of each pair of ids.</summary>
    internal static Dictionary<(int Left, int Right), (int Rank, int Merged)> MergeRanks(BpeModel model)
    {
        var ranks = new Dictionary<(int, int), (int, int)>(model.Merges.Count);
        for (var rank = 0; rank < model.Merges.Count; rank++)
        {
            var (left, right) = model.Merges[rank];
            var pair = (Id(model, left, rank), Id(model, right, rank));
            if (!ranks.TryAdd(pair, (rank, Id(model, left + right, rank))))
            {
                throw new ArgumentException($"Merge {rank}, '{left} {right}', appears twice.", nameof(model));
            }
        }
        return ranks;
    }

    private static int Id(BpeModel model, string token, int rank) => model.Vocabulary.TryGetValue(token, out var id)
        ? id
        : throw new ArgumentException($"Merge {rank} needs the token '{token}', which the vocabulary lacks.", nameof(model));

    private static void Claim(string?[] names, int id, string token)
    {
        if (id < 0)
        {
            throw new ArgumentException($"The token '{token}' has the id {id}; ids start at 0.", nameof(id));
        }
        if (names[id] is { } other && other != token)
        {
            throw new ArgumentException($"The tokens '{other}' and '{token}' share the id {id}.", nameof(id));
        }
        names[id] = token;
    }
}
