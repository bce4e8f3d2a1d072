using System.Numerics;

namespace Platform.Scheduling.Cycle;

/// <summary>A set of places in the order of nodes, as bits.</summary>
internal sealed class NodeSet(int size)
{
    private const int Bits = 64;
    private readonly ulong[] words = new ulong[(size + Bits - 1) / Bits];
    private int from = int.MaxValue;
    private int to;

    /// <summary>Members.</summary>
    public int Count { get; private set; }

    public void Add(int place)
    {
        int word = place / Bits;
        (from, to) = (Math.Min(from, word), Math.Max(to, word + 1));
        words[word] |= 1UL << place;
        Count++;
    }

    public void Remove(int place)
    {
        words[place / Bits] &= ~(1UL << place);
        Count--;
    }

    public bool Contains(int place) => (words[place / Bits] >> place & 1) != 0;

    /// <summary>The first place from one on that is in this set and, unless it is null, in another.</summary>
    public bool TryNext(NodeSet? within, int start, out int place)
    {
        int first = Math.Max(start / Bits, from), last = to;
        if (within is not null)
        {
            (first, last) = (Math.Max(first, within.from), Math.Min(last, within.to));
        }

        for (int word = first; word < last; word++)
        {
            ulong bits = words[word];
            if (within is not null)
            {
                bits &= within.words[word];
            }

            if (word == start / Bits)
            {
                bits &= ulong.MaxValue << start;
            }

            if (bits != 0)
            {
                place = (word * Bits) + BitOperations.TrailingZeroCount(bits);
                return true;
            }
        }

        place = 0;
        return false;
    }
}
