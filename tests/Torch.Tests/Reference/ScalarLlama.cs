using Platform.Core.Models;

namespace Platform.Torch.Tests.Reference;

/// <summary>
/// A Llama decoder over arrays of doubles, one token at a time in spirit: every formula is written out from the papers,
/// sharing nothing with the code under test but the names of the weights.
/// </summary>
internal static class ScalarLlama
{
    /// <summary>Logits [T, vocabulary] of one sequence, and the residual stream after the embedding and each layer.</summary>
    public static (double[] Logits, List<double[]> Hidden) Forward(ModelConfig config, Func<string, double[]> weight, long[] tokens)
    {
        int hidden = config.HiddenSize, length = tokens.Length;
        var embedding = weight("model.embed_tokens.weight");
        var x = tokens.SelectMany(token => embedding.Skip((int)token * hidden).Take(hidden)).ToArray();
        var states = new List<double[]> { x };
        for (var layer = 0; layer < config.NumHiddenLayers; layer++)
        {
            var prefix = $"model.layers.{layer}.";
            var normed = ScalarMath.RmsNorm(x, weight(prefix + "input_layernorm.weight"), config.RmsNormEps);
            var attended = Attend(config, normed, name => weight(prefix + "self_attn." + name), length);
            x = Sum(x, ScalarMath.Linear(attended, weight(prefix + "self_attn.o_proj.weight"), null, config.NumAttentionHeads * config.HeadDim));
            normed = ScalarMath.RmsNorm(x, weight(prefix + "post_attention_layernorm.weight"), config.RmsNormEps);
            var gate = ScalarMath.Linear(normed, weight(prefix + "mlp.gate_proj.weight"), null, hidden);
            var up = ScalarMath.Linear(normed, weight(prefix + "mlp.up_proj.weight"), null, hidden);
            var inner = gate.Zip(up, (g, u) => ScalarMath.Silu(g) * u).ToArray();
            x = Sum(x, ScalarMath.Linear(inner, weight(prefix + "mlp.down_proj.weight"), null, config.IntermediateSize));
            states.Add(x);
        }

        var last = ScalarMath.RmsNorm(x, weight("model.norm.weight"), config.RmsNormEps);
        var head = config.TieWordEmbeddings ? embedding : weight("lm_head.weight");
        return (ScalarMath.Linear(last, head, null, hidden), states);
    }

    /// <summary>Rotates [heads, length, head size] whose first position is <paramref name="first"/>.</summary>
    public static double[] Rotate(ModelConfig config, double[] x, int heads, int length, int first)
    {
        int size = config.HeadDim, half = size / 2;
        var result = new double[x.Length];
        for (var h = 0; h < heads; h++)
        {
            for (var t = 0; t < length; t++)
            {
                for (var d = 0; d < half; d++)
                {
                    var angle = (first + t) * Frequency(config, d);
                    double a = x[(((h * length) + t) * size) + d], b = x[(((h * length) + t) * size) + d + half];
                    result[(((h * length) + t) * size) + d] = (a * Math.Cos(angle)) - (b * Math.Sin(angle));
                    result[(((h * length) + t) * size) + d + half] = (b * Math.Cos(angle)) + (a * Math.Sin(angle));
                }
            }
        }

        return result;
    }

    private static double Frequency(ModelConfig config, int d)
    {
        var frequency = 1 / Math.Pow(config.RopeTheta, 2.0 * d / config.HeadDim);
        if (config.RopeScaling is not { Type: "llama3" } scaling)
            return frequency;
        var wavelength = 2 * Math.PI / frequency;
        double original = scaling.OriginalMaxPositionEmbeddings;
        if (wavelength < original / scaling.HighFreqFactor)
            return frequency;
        if (wavelength > original / scaling.LowFreqFactor)
            return frequency / scaling.Factor;
        var smooth = ((original / wavelength) - scaling.LowFreqFactor) / (scaling.HighFreqFactor - scaling.LowFreqFactor);
        return ((1 - smooth) * frequency / scaling.Factor) + (smooth * frequency);
    }

    private static double[] Attend(ModelConfig config, double[] x, Func<string, double[]> weight, int length)
    {
        int heads = config.NumAttentionHeads, shared = config.NumKeyValueHeads, size = config.HeadDim;
        var query = Rotate(config, Heads("q", heads, config.QkNorm), heads, length, 0);
        var key = Rotate(config, Heads("k", shared, config.QkNorm), shared, length, 0);
        var value = Heads("v", shared, normed: false);
        var result = ScalarMath.Attention(query, key, value, heads, shared, size, 1 / Math.Sqrt(size), (t, s) => s <= t);
        return Swap(result, heads, length, size);

        double[] Heads(string name, int count, bool normed)
        {
            var projected = ScalarMath.Linear(
                x, weight($"{name}_proj.weight"), config.AttentionBias ? weight($"{name}_proj.bias") : null, config.HiddenSize);
            if (normed)
                projected = ScalarMath.RmsNorm(projected, weight($"{name}_norm.weight"), config.RmsNormEps);
            return Swap(projected, length, count, size);
        }
    }

    /// <summary>[a, b, size] to [b, a, size].</summary>
    private static double[] Swap(double[] x, int a, int b, int size)
    {
        var result = new double[x.Length];
        for (var i = 0; i < a; i++)
        {
            for (var j = 0; j < b; j++)
                Array.Copy(x, ((i * b) + j) * size, result, ((j * a) + i) * size, size);
        }

        return result;
    }

    private static double[] Sum(double[] a, double[] b) => a.Zip(b, (x, y) => x + y).ToArray();
}
