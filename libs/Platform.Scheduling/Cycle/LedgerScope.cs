using Platform.Scheduling.Placement;

namespace Platform.Scheduling.Cycle;

/// <summary>Changes to a ledger for the time of a question; undone at the end.</summary>
internal sealed class LedgerScope(DeviceLedger ledger) : IDisposable
{
    private readonly List<(RankRequest Rank, HeldPlaces Places, bool Freed)> done = [];

    /// <summary>As if the gang had ended.</summary>
    public void Free(GangPlacement placement, RankRequest rank)
    {
        foreach (var places in ledger.PlacesOf(placement))
        {
            ledger.Nodes[places.Node].Release(rank, places.Positions, places.Ranks);
            done.Add((rank, places, true));
        }
    }

    /// <summary>As if what is free of these places, now or later in this scope, were taken.</summary>
    public void Withhold(GangPlacement placement, RankRequest rank) => Withhold(ledger.PlacesOf(placement), rank);

    /// <summary>The same for places that were looked up before.</summary>
    public void Withhold(IReadOnlyList<HeldPlaces> held, RankRequest rank)
    {
        foreach (var places in held)
        {
            ledger.Nodes[places.Node].Withhold(rank, places.Positions, places.Ranks);
            done.Add((rank, places, false));
        }
    }

    public void Dispose()
    {
        for (int step = done.Count - 1; step >= 0; step--)
        {
            var (rank, places, freed) = done[step];
            var node = ledger.Nodes[places.Node];
            if (freed)
            {
                node.Retake(rank, places.Positions, places.Ranks);
            }
            else
            {
                node.Withhold(rank, places.Positions, -places.Ranks);
            }
        }

        done.Clear();
    }
}
