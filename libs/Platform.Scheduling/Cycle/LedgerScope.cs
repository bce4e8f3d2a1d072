using Platform.Scheduling.Placement;

namespace Platform.Scheduling.Cycle;

/// <summary>Changes to a ledger for the time of a question; undone at the end.</summary>
internal sealed class LedgerScope(DeviceLedger ledger) : IDisposable
{
    private readonly Stack<Action> undo = new();

    /// <summary>As if the gang had ended.</summary>
    public void Free(GangPlacement placement, RankRequest rank)
    {
        foreach (var (node, positions) in ledger.PlacesOf(placement))
        {
            node.Release(rank, positions);
            undo.Push(() => node.Take(rank, positions));
        }
    }

    /// <summary>As if what is free of these places were taken.</summary>
    public void Withhold(GangPlacement placement, RankRequest rank)
    {
        foreach (var (node, positions) in ledger.PlacesOf(placement))
        {
            foreach (int position in positions)
            {
                int milli = Math.Min(rank.DeviceMilli, node.FreeMilli[position]);
                if (milli > 0)
                {
                    var part = rank with { Devices = 1, DeviceMilli = milli, CpuMilli = 0, MemoryBytes = 0 };
                    node.Take(part, [position]);
                    undo.Push(() => node.Release(part, [position]));
                }
            }

            // Host memory and cores go with the rank, as far as they are free.
            var host = rank with { CpuMilli = Math.Min(rank.CpuMilli, Math.Max(0, node.FreeCpuMilli)), MemoryBytes = Math.Min(rank.MemoryBytes, Math.Max(0, node.FreeMemoryBytes)) };
            node.Take(host, []);
            undo.Push(() => node.Release(host, []));
        }
    }

    public void Dispose()
    {
        while (undo.TryPop(out var step))
        {
            step();
        }
    }
}
