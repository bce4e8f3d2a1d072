using Platform.Core.Jobs;

namespace Platform.Worker.Engine.Planning;

/// <summary>The learning rate of each step.</summary>
public static class LearningRate
{
    /// <summary>
    /// Rises linearly over the warm-up, reaching the peak at its last step, and then follows the schedule, reaching the minimum
    /// at the last step. Warm-up-stable-decay holds the peak until the last fifth of the run (Hu et al. 2024).
    /// </summary>
    /// <param name="optimizer">Peak, minimum, warm-up and schedule.</param>
    /// <param name="steps">Steps of the run.</param>
    /// <param name="step">Step, from 1.</param>
    public static double At(OptimizerSpec optimizer, int steps, int step)
    {
        ArgumentNullException.ThrowIfNull(optimizer);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(step);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(step, steps);
        if (step <= optimizer.WarmupSteps)
            return optimizer.Lr * step / optimizer.WarmupSteps;
        return optimizer.Schedule switch
        {
            LearningRateSchedule.Constant => optimizer.Lr,
            LearningRateSchedule.Cosine => Between(0.5 * (1 + Math.Cos(Math.PI * Share(optimizer.WarmupSteps)))),
            LearningRateSchedule.Linear => Between(1 - Share(optimizer.WarmupSteps)),
            LearningRateSchedule.WarmupStableDecay => Between(1 - Share(Math.Max(optimizer.WarmupSteps, steps - Math.Max(1, steps / 5)))),
            _ => throw new ArgumentOutOfRangeException(nameof(optimizer), optimizer.Schedule, "not a schedule"),
        };

        // Share of the way from the end of a phase to the last step, [0, 1].
        double Share(int from) => step <= from ? 0 : (double)(step - from) / (steps - from);
        double Between(double weight) => optimizer.MinLr + ((optimizer.Lr - optimizer.MinLr) * weight);
    }
}
