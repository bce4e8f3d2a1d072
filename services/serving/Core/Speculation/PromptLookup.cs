namespace Platform.Serving.Core.Speculation;

/// <summary>
/// Guesses the tokens that follow from what followed the same few tokens before (prompt lookup decoding): cheap, and often
/// right where an output repeats its prompt, as summaries, edits and code do.
/// </summary>
public static class PromptLookup
{
    /// <summary>Guesses.</summary>
    /// <param name="tokens">Prompt and output so far.</param>
    /// <param name="shortest">Fewest tokens at the end that must have occurred before; at least 1.</param>
    /// <param name="longest">Most tokens at the end to look for; longer matches are tried first.</param>
    /// <param name="drafts">Receives the guesses.</param>
    /// <returns>Their number; 0 when nothing like the end occurred before.</returns>
    public static int Guess(ReadOnlySpan<int> tokens, int shortest, int longest, Span<int> drafts)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(shortest, 1);
        for (var length = Math.Min(longest, tokens.Length - 1); length >= shortest; length--)
        {
            var found = tokens[..^1].LastIndexOf(tokens[^length..]);
            if (found < 0)
                continue;
            var following = tokens[(found + length)..];
            var count = Math.Min(following.Length, drafts.Length);
            following[..count].CopyTo(drafts);
            return count;
        }

        return 0;
    }
}
