namespace Platform.Serving.Core.Constraints;

/// <summary>The tokens of a vocabulary in the order of their bytes, so that a walk over all of them shares their beginnings.</summary>
internal sealed class TokenTable
{
    private readonly (byte[] Bytes, int Id, int Shared)[] _tokens;

    /// <summary>A table.</summary>
    /// <param name="vocabularySize">Rows of logits.</param>
    /// <param name="bytesOf">Bytes of a token; empty for those that stand for no text.</param>
    public TokenTable(int vocabularySize, Func<int, byte[]> bytesOf)
    {
        VocabularySize = vocabularySize;
        var tokens = Enumerable.Range(0, vocabularySize).Select(id => (Bytes: bytesOf(id), Id: id)).Where(token => token.Bytes.Length > 0).ToArray();
        Array.Sort(tokens, (a, b) => a.Bytes.AsSpan().SequenceCompareTo(b.Bytes));
        _tokens = [.. tokens.Select((token, i) => (token.Bytes, token.Id, i == 0 ? 0 : token.Bytes.AsSpan().CommonPrefixLength(tokens[i - 1].Bytes)))];
        Longest = tokens.Length == 0 ? 0 : tokens.Max(token => token.Bytes.Length);
    }

    public int VocabularySize { get; }

    public int Longest { get; }

    /// <summary>Bits for the tokens with which a text may go on.</summary>
    public ulong[] Allowed(ByteAutomaton automaton, AutomatonState state)
    {
        var bits = new ulong[(VocabularySize + 63) / 64];
        var path = new AutomatonState[Longest + 1];
        path[0] = state;
        // Bytes of the last token that the automaton took, and whether it refused the one after them.
        var (depth, refused) = (0, false);
        foreach (var (bytes, id, shared) in _tokens)
        {
            if (refused && shared > depth)
                continue;
            depth = Math.Min(depth, shared);
            refused = false;
            while (depth < bytes.Length)
            {
                if (automaton.Next(path[depth], bytes[depth]) is not { } next)
                {
                    refused = true;
                    break;
                }

                path[++depth] = next;
            }

            if (!refused)
                bits[id >> 6] |= 1UL << (id & 63);
        }

        return bits;
    }
}

/// <summary>What an output must match, for one vocabulary. Used by one thread at a time; shared by the requests that ask for it.</summary>
internal sealed class TokenConstraint(RegexNode expression, TokenTable tokens)
{
    private readonly ByteAutomaton _automaton = new(expression);

    public AutomatonState Start => _automaton.Start;

    /// <summary>Bits for the tokens that may follow.</summary>
    /// <exception cref="ConstraintException">That takes too much work.</exception>
    public ReadOnlySpan<ulong> Allowed(AutomatonState state)
    {
        if (state.Tokens is { } known)
            return known;
        _automaton.Allow();
        return state.Tokens = tokens.Allowed(_automaton, state);
    }

    /// <summary>The state after a token; null when it does not fit.</summary>
    public AutomatonState? After(AutomatonState state, ReadOnlySpan<byte> token)
    {
        _automaton.Allow();
        var current = state;
        foreach (var value in token)
        {
            if (_automaton.Next(current, value) is not { } next)
                return null;
            current = next;
        }

        return current;
    }
}
