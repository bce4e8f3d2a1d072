namespace Platform.Torch.Collectives;

/// <summary>
/// How elements of several ranks become one. Every implementation folds in the order of group ranks, ((x0 ∘ x1) ∘ x2) ∘ …,
/// so the bits of a result depend on the operands alone and never on timing, chunking or transport.
/// </summary>
public enum ReduceOperation
{
    /// <summary>The sum; integers wrap.</summary>
    Sum,

    /// <summary>The largest; NaN if any operand is NaN; +0 above −0.</summary>
    Max,

    /// <summary>The smallest; NaN if any operand is NaN; −0 below +0.</summary>
    Min,

    /// <summary>The sum divided by the number of ranks; floating-point elements only. bfloat16 is divided before it is rounded.</summary>
    Average,
}
