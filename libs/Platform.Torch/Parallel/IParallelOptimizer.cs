namespace Platform.Torch.Parallel;

/// <summary>Updates the weights that a rank keeps the masters of.</summary>
public interface IParallelOptimizer
{
    /// <summary>
    /// Clips by the norm of the whole gradient, updates masters and weights, and sets the gradients to zero. Every rank calls
    /// this once its gradients are reduced.
    /// </summary>
    /// <param name="update">Number of this update, from 1.</param>
    /// <param name="learningRate">Learning rate.</param>
    /// <param name="gradientNorm">Norm of the whole gradient.</param>
    void Update(int update, double learningRate, double gradientNorm);
}
