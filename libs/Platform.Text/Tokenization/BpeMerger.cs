namespace Platform.Text.Tokenization;

/// <summary>
/// Applies merges to a word of any length in n·log n: a heap of the adjacent pairs by rank and place over a linked
/// list of symbols. For words too long for a tokenizer whose cost grows with the square of the length.
/// </summary>
internal sealed class BpeMerger
{
    private readonly Dictionary<(int Left, int Right), (int Rank, int Merged)> _merges;

    /// <param name="merges">Rank and result of each pair of ids.</param>
    internal BpeMerger(Dictionary<(int Left, int Right), (int Rank, int Merged)> merges) => _merges = merges;

    /// <summary>Merges.</summary>
    /// <param name="ids">The word's symbols; overwritten.</param>
    /// <param name="destination">Takes what they become.</param>
    internal void Merge(int[] ids, List<int> destination)
    {
        var next = new int[ids.Length];
        var previous = new int[ids.Length];
        for (var i = 0; i < ids.Length; i++)
        {
            next[i] = i + 1;
            previous[i] = i - 1;
        }
        var heap = new PriorityQueue<(int Left, int Right, int LeftId, int RightId), (int Rank, int Place)>();
        void Offer(int left, int right)
        {
            if (left >= 0 && right < ids.Length && _merges.TryGetValue((ids[left], ids[right]), out var merge))
            {
                heap.Enqueue((left, right, ids[left], ids[right]), (merge.Rank, left));
            }
        }
        for (var i = 0; i + 1 < ids.Length; i++)
        {
            Offer(i, i + 1);
        }
        while (heap.TryDequeue(out var pair, out _))
        {
            // A pair is stale when one of its symbols has been merged since; merged-away symbols have the id -1.
            if (ids[pair.Left] != pair.LeftId || ids[pair.Right] != pair.RightId || next[pair.Left] != pair.Right)
            {
                continue;
            }
            ids[pair.Left] = _merges[(pair.LeftId, pair.RightId)].Merged;
            ids[pair.Right] = -1;
            var after = next[pair.Right];
            next[pair.Left] = after;
            if (after < ids.Length)
            {
                previous[after] = pair.Left;
            }
            Offer(previous[pair.Left], pair.Left);
            Offer(pair.Left, after);
        }
        for (var i = 0; i < ids.Length; i = next[i])
        {
            destination.Add(ids[i]);
        }
    }
}
