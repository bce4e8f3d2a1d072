using Platform.Core.Models;
using TorchSharp;
using Device = TorchSharp.torch.Device;
using ScalarType = TorchSharp.torch.ScalarType;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Models.Llama;

/// <summary>
/// Rotary position embedding (Su et al. 2021) in Hugging Face's convention: element d of the first half of a head turns
/// together with element d of the second half, by <c>position · θ^(−2d / D)</c>. Angles are computed in fp64.
/// </summary>
/// <remarks>Owns its two tables; dispose it with the model. Tables are detached from any dispose scope.</remarks>
public sealed class RotaryEmbedding : IDisposable
{
    /// <summary>Tables for positions 0 to <paramref name="positions"/> − 1.</summary>
    /// <param name="config">Head size, base and rescaling.</param>
    /// <param name="positions">Number of positions.</param>
    /// <param name="type">Type of the tensors to be rotated.</param>
    /// <param name="device">Their device.</param>
    /// <exception cref="NotSupportedException">The model rescales its frequencies in a way that is not implemented.</exception>
    public RotaryEmbedding(ModelConfig config, int positions, ScalarType type, Device device)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentOutOfRangeException.ThrowIfLessThan(positions, 1);
        var frequencies = RotaryFrequencies.Of(config, positions);
        var factor = AttentionFactor(config);
        var half = frequencies.Length;
        var cosine = new double[positions * half];
        var sine = new double[positions * half];
        for (var position = 0; position < positions; position++)
        {
            for (var d = 0; d < half; d++)
            {
                var (sin, cos) = Math.SinCos(position * frequencies[d]);
                (sine[(position * half) + d], cosine[(position * half) + d]) = (sin * factor, cos * factor);
            }
        }

        Cosine_PD = Table(cosine);
        Sine_PD = Table(sine);

        Tensor Table(double[] values)
        {
            using var scope = torch.NewDisposeScope();
            using var withoutGradients = torch.no_grad();
            return TensorMemory.FromSpan<double>(values, [positions, half], ScalarType.Float64).to(type).to(device).DetachFromDisposeScope();
        }
    }

    /// <summary>Cosines [positions, D / 2].</summary>
    public Tensor Cosine_PD { get; }

    /// <summary>Sines [positions, D / 2].</summary>
    public Tensor Sine_PD { get; }

    /// <summary>Angle per position of each of the D / 2 pairs within the context the model was made for.</summary>
    /// <exception cref="NotSupportedException">The model rescales its frequencies in a way that is not implemented.</exception>
    public static double[] InverseFrequencies(ModelConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        return RotaryFrequencies.Of(config, config.MaxPositionEmbeddings);
    }

    /// <summary>What the tables are multiplied by, so that the logits of a stretched context keep their temperature; 1 but for yarn.</summary>
    public static double AttentionFactor(ModelConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        return config.RopeScaling is { Type: "yarn" } scaling
            ? scaling.AttentionFactor ?? (scaling.Factor <= 1 ? 1 : (0.1 * Math.Log(scaling.Factor)) + 1)
            : 1;
    }

    /// <summary>Rotates heads whose positions are consecutive.</summary>
    /// <param name="x_BHTD">[batch, heads, T, D].</param>
    /// <param name="firstPosition">Position of the first of the T.</param>
    /// <returns>A new tensor of the same shape.</returns>
    public Tensor Rotate(Tensor x_BHTD, long firstPosition)
    {
        ArgumentNullException.ThrowIfNull(x_BHTD);
        TensorArgument.Dimensions(x_BHTD, 4, nameof(x_BHTD));
        var length = x_BHTD.shape[2];
        ArgumentOutOfRangeException.ThrowIfNegative(firstPosition);
        if (firstPosition + length > Cosine_PD.shape[0])
            throw new ArgumentOutOfRangeException(
                nameof(firstPosition), $"Position {firstPosition + length - 1} is beyond the {Cosine_PD.shape[0]} the model was made for.");
        using var cosine = Cosine_PD.narrow(0, firstPosition, length);
        using var sine = Sine_PD.narrow(0, firstPosition, length);
        return Rotate(x_BHTD, cosine, sine);
    }

    /// <summary>Rotates by given angles.</summary>
    /// <param name="x">[..., T, D] with even D.</param>
    /// <param name="cosine">Cosines that broadcast to [..., T, D / 2], such as rows of <see cref="Cosine_PD"/>.</param>
    /// <param name="sine">Sines of the same shape.</param>
    public static Tensor Rotate(Tensor x, Tensor cosine, Tensor sine)
    {
        ArgumentNullException.ThrowIfNull(x);
        var half = x.shape[^1] / 2;
        using var first = x.narrow(-1, 0, half);
        using var second = x.narrow(-1, half, half);
        using var firstCosine = first * cosine;
        using var secondSine = second * sine;
        using var secondCosine = second * cosine;
        using var firstSine = first * sine;
        using var left = firstCosine - secondSine;
        using var right = secondCosine.Plus(firstSine);
        return torch.cat([left, right], -1);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Cosine_PD.Dispose();
        Sine_PD.Dispose();
    }
}
