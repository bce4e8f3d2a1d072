using Platform.Core.Models;

namespace Platform.Torch.Models.Llama;

/// <summary>Frequencies of rotary embedding with the rescalings that Hugging Face's <c>rope_scaling</c> defines.</summary>
internal static class RotaryFrequencies
{
    /// <summary>
    /// Angle per position of each of the D / 2 pairs: <c>linear</c> divides all by the factor; <c>dynamic</c> raises the base for
    /// sequences longer than the model's context; <c>llama3</c> divides those of long wavelength and blends between; <c>yarn</c>
    /// divides those that turn seldom within the original context and blends between (Peng et al. 2023, section 3.2).
    /// </summary>
    /// <param name="config">Head size, base and rescaling.</param>
    /// <param name="length">Length of the sequences in tokens, which only <c>dynamic</c> asks for.</param>
    /// <exception cref="NotSupportedException">The rescaling is another one.</exception>
    public static double[] Of(ModelConfig config, int length)
    {
        if (config.HeadDim < 2 || config.HeadDim % 2 != 0)
            throw new ArgumentException($"Rotary embedding needs an even head size, found {config.HeadDim}.", nameof(config));
        var theta = config.RopeTheta;
        if (config.RopeScaling is { Type: "dynamic" } dynamic && length > config.MaxPositionEmbeddings)
        {
            var stretch = (dynamic.Factor * length / config.MaxPositionEmbeddings) - (dynamic.Factor - 1);
            theta *= Math.Pow(stretch, config.HeadDim / (config.HeadDim - 2.0));
        }

        var frequencies = new double[config.HeadDim / 2];
        for (var d = 0; d < frequencies.Length; d++)
            frequencies[d] = Rescale(Math.Pow(theta, -2.0 * d / config.HeadDim), d, config);
        return frequencies;
    }

    private static double Rescale(double frequency, int pair, ModelConfig config)
    {
        switch (config.RopeScaling?.Type)
        {
            case null or "dynamic":
                return frequency;
            case "linear":
                return frequency / config.RopeScaling.Factor;
            case "llama3":
                var scaling = config.RopeScaling;
                var turns = scaling.OriginalMaxPositionEmbeddings * frequency / (2 * Math.PI);
                var kept = (turns - scaling.LowFreqFactor) / (scaling.HighFreqFactor - scaling.LowFreqFactor);
                return Blend(frequency, scaling.Factor, Math.Clamp(kept, 0, 1));
            case "yarn":
                var (low, high) = YarnRange(config, config.RopeScaling);
                return Blend(frequency, config.RopeScaling.Factor, 1 - Math.Clamp((pair - low) / (high - low), 0, 1));
            default:
                throw new NotSupportedException(
                    $"The model rescales rotary frequencies by '{config.RopeScaling.Type}'; linear, dynamic, llama3 and yarn are supported.");
        }
    }

    private static double Blend(double frequency, double factor, double kept) => (((1 - kept) / factor) + kept) * frequency;

    /// <summary>Pairs below the range are kept, those above it rescaled.</summary>
    private static (double Low, double High) YarnRange(ModelConfig config, RopeScaling scaling)
    {
        var (low, high) = (PairThatTurns(scaling.BetaFast), PairThatTurns(scaling.BetaSlow));
        if (scaling.Truncate)
            (low, high) = (Math.Floor(low), Math.Ceiling(high));
        (low, high) = (Math.Max(low, 0), Math.Min(high, config.HeadDim - 1));
        return (low, high == low ? high + 0.001 : high);

        // The pair that makes so many turns over the original context.
        double PairThatTurns(double turns) =>
            config.HeadDim * Math.Log(scaling.OriginalMaxPositionEmbeddings / (turns * 2 * Math.PI)) / (2 * Math.Log(config.RopeTheta));
    }
}
