using System.Collections.Immutable;

namespace Platform.Torch.Parallel.Parameters;

/// <summary>A tensor's place in its unit.</summary>
/// <param name="Bundle">The tensor.</param>
/// <param name="Offset">Its first element, counted from the unit's.</param>
public sealed record UnitEntry(ParameterBundle Bundle, long Offset);

/// <summary>
/// Tensors that a computation needs together, and that therefore are gathered, reduced and sharded together, as one run of
/// elements: what is trained of a decoder layer, the embedding, the last norm, or the head. Matrices come before vectors, which
/// take no weight decay, and among each those of which every rank of a tensor group has another part come first; the order is
/// the same on all of them. The gaps after tensors stay zero.
/// </summary>
public sealed record ParameterUnit
{
    /// <summary>Tensors start at multiples of this many elements, which no vector register exceeds.</summary>
    public const int AlignmentElements = 32;

    /// <summary>Place among the stage's units, from 0, in the order in which a forward pass meets them first.</summary>
    public required int Index { get; init; }

    /// <summary>The tensors in the order of their memory, never empty.</summary>
    public required ImmutableArray<UnitEntry> Entries { get; init; }

    /// <summary>Elements, gaps included: a multiple of the data width, so that every data rank's shard has the same size.</summary>
    public required long Length { get; init; }

    /// <summary>The first so many elements take weight decay.</summary>
    public required long DecayedLength { get; init; }

    /// <summary>Decoder layer, or null outside of them.</summary>
    public int? Layer => Entries[0].Bundle.Layer;

    /// <summary>Role of the first tensor, which outside of decoder layers is the only one.</summary>
    public BundleRole Role => Entries[0].Bundle.Role;

    /// <summary>All elements.</summary>
    public ElementRange Whole => new(0, Length);

    /// <summary>The elements that take weight decay.</summary>
    public ElementRange Decayed => new(0, DecayedLength);

    /// <summary>The elements that do not.</summary>
    public ElementRange NotDecayed => new(DecayedLength, Length - DecayedLength);

    /// <summary>A data rank's share of the elements.</summary>
    public ElementRange ShardOf(int dataRank, int dataWidth) => new(dataRank * (Length / dataWidth), Length / dataWidth);

    /// <summary>The units of a stage; none for what is frozen.</summary>
    public static ImmutableArray<ParameterUnit> Of(StageLayout layout)
    {
        ArgumentNullException.ThrowIfNull(layout);
        var groups = layout.Bundles.Where(bundle => bundle.IsTrained).GroupBy(bundle => (bundle.Layer, bundle.Layer is null ? bundle.Role : default));
        return [.. groups.Select((group, index) => Create(layout, index, [.. group]))];
    }

    private static ParameterUnit Create(StageLayout layout, int index, IReadOnlyList<ParameterBundle> bundles)
    {
        var entries = ImmutableArray.CreateBuilder<UnitEntry>(bundles.Count);
        long end = 0, decayed = 0;
        foreach (var bundle in bundles.OrderBy(bundle => bundle.Decays ? 0 : 1).ThenBy(bundle => bundle.IsReplicated ? 1 : 0))
        {
            entries.Add(new UnitEntry(bundle, end));
            end += RoundUp(bundle.ElementCount, AlignmentElements);
            if (bundle.Decays)
                decayed = end;
        }

        var length = RoundUp(end, (long)AlignmentElements * layout.Mesh.Data);
        return new ParameterUnit
        {
            Index = index,
            Entries = entries.DrainToImmutable(),
            Length = length,
            DecayedLength = decayed == end ? length : decayed,
        };
    }

    private static long RoundUp(long count, long unit) => (count + unit - 1) / unit * unit;
}
