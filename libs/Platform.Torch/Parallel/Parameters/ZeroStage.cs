namespace Platform.Torch.Parallel.Parameters;

/// <summary>
/// What the ranks of a data group divide among themselves instead of each keeping all of it (Rajbhandari et al. 2020,
/// section 5). Each stage includes those before it.
/// </summary>
public enum ZeroStage
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>Master weights and moments.</summary>
    OptimizerState = 1,

    /// <summary>Sums of gradients too.</summary>
    Gradients = 2,

    /// <summary>Weights too.</summary>
    Parameters = 3,
}

/// <summary>What a store keeps for every weight, and where.</summary>
/// <param name="Types">Number formats.</param>
/// <param name="Zero">What the data group divides.</param>
/// <param name="LayerMatricesHaveOneMoment">Matrices of decoder layers have a momentum and no second moment (Muon).</param>
/// <param name="Device">Where it lies; null for the CPU.</param>
public readonly record struct ParameterStorage(
    TrainingTypes Types, ZeroStage Zero = ZeroStage.None, bool LayerMatricesHaveOneMoment = false, TorchSharp.torch.Device? Device = null);
