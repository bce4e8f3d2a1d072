namespace Platform.Scheduling.Placement;

/// <summary>Any place that fits, each as likely: the baseline of placement experiments.</summary>
public sealed class RandomPolicy : PlacementPolicy
{
    /// <inheritdoc/>
    public override string Name => PlacementPolicies.Random;

    /// <inheritdoc/>
    public override bool DrawsTies => true;

    /// <inheritdoc/>
    protected override double Cost(NodeLedger node, RankRequest request, ReadOnlySpan<int> positions) => 0;
}
