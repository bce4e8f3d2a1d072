namespace Platform.Core.Jobs;

/// <summary>Constants of Muon, which updates the matrices of decoder layers.</summary>
public sealed record MuonSpec
{
    /// <summary>Decay of the momentum.</summary>
    public double Momentum { get; init; } = 0.95;

    /// <summary>Look ahead along the momentum.</summary>
    public bool Nesterov { get; init; } = true;

    /// <summary>Newton–Schulz iterations.</summary>
    public int NewtonSchulzSteps { get; init; } = 5;
}
