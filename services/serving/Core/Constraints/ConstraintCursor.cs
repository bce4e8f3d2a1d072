namespace Platform.Serving.Core.Constraints;

/// <summary>Where one output stands within what it must match.</summary>
/// <param name="constraint">What it must match.</param>
/// <param name="vocabularySize">Rows of logits.</param>
internal sealed class ConstraintCursor(TokenConstraint constraint, int vocabularySize)
{
    private readonly ulong[] _bits = new ulong[(vocabularySize + 63) / 64];
    // Null once the output cannot match any more.
    private AutomatonState? _state = constraint.Start;

    /// <summary>Whether the output can only end here.</summary>
    public bool IsComplete => _state is { IsComplete: true };

    /// <summary>Bits for the tokens that may follow: those that fit, and those that end the output where it may end.</summary>
    /// <param name="endTokens">Tokens that end the output.</param>
    /// <exception cref="ConstraintException">Finding them takes too much work, or there is none.</exception>
    public ReadOnlySpan<ulong> Allowed(IReadOnlySet<int> endTokens)
    {
        if (_state is not { } state)
            throw new ConstraintException("The output so far does not match the constraint.");
        constraint.Allowed(state).CopyTo(_bits);
        if (state.Accepts)
        {
            foreach (var token in endTokens)
                _bits[token >> 6] |= 1UL << (token & 63);
        }

        return _bits.AsSpan().ContainsAnyExcept(0UL) ? _bits : throw new ConstraintException("No token of the vocabulary can go on as the constraint asks.");
    }

    /// <summary>Takes a token; one that does not fit shows when the next is asked for.</summary>
    public void Take(ReadOnlySpan<byte> token)
    {
        try
        {
            _state = _state is { } state ? constraint.After(state, token) : null;
        }
        catch (ConstraintException)
        {
            _state = null;
        }
    }
}
