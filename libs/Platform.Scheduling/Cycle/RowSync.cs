namespace Platform.Scheduling.Cycle;

/// <summary>
/// Follows a list of immutable rows from one snapshot to the next: rows that are the same objects stay, the others leave or
/// enter. Comparing references costs next to nothing, so the work grows with the rows that changed.
/// </summary>
internal sealed class RowSync<TRow, TEntry>(Func<TRow, TEntry> enter, Action<TEntry> leave)
    where TRow : class
    where TEntry : class
{
    private const int Ahead = 256;
    private const int MissesInARow = 16;
    private List<TRow> rows = [];
    private List<TEntry> entries = [];

    /// <summary>Makes the entries those of another list of rows. Whatever leaves does so before anything enters.</summary>
    public void Follow(IReadOnlyList<TRow> next)
    {
        var following = new List<TRow>(next.Count);
        var kept = new TEntry?[next.Count];
        int known = 0, misses = 0;
        for (int at = 0; at < kept.Length; at++)
        {
            var row = next[at];
            following.Add(row);
            int found = known;
            if (known < rows.Count && !ReferenceEquals(rows[known], row))
            {
                int end = misses < MissesInARow ? Math.Min(rows.Count, known + Ahead) : known;
                do
                {
                    found++;
                }
                while (found < end && !ReferenceEquals(rows[found], row));
                misses = found < end ? 0 : misses + 1;
                found = found < end ? found : rows.Count;
            }

            if (found < rows.Count)
            {
                Leave(known, found);
                kept[at] = entries[found];
                known = found + 1;
            }
        }

        Leave(known, rows.Count);
        var now = new List<TEntry>(kept.Length);
        for (int at = 0; at < kept.Length; at++)
        {
            now.Add(kept[at] ?? enter(following[at]));
        }

        (rows, entries) = (following, now);
    }

    /// <summary>Starts with no rows; what is known of the others is dropped without a word.</summary>
    public void Forget() => (rows, entries) = ([], []);

    private void Leave(int from, int to)
    {
        for (int at = from; at < to; at++)
        {
            leave(entries[at]);
        }
    }
}
