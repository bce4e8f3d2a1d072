using Platform.Core.Models;

namespace Platform.Serving.Tests;

/// <summary>A decoder's forward pass in fp64, written from the papers with plain loops and no code of the platform.</summary>
internal sealed class ScalarForward(TinyModel model)
{
    private readonly ModelConfig _config = model.Config;

    /// <summary>Logits after the last token.</summary>
    public double[] Logits(IReadOnlyList<int> tokens) =>
        Multiply(W(_config.TieWordEmbeddings ? "model.embed_tokens.weight" : "lm_head.weight"), Hidden(tokens)[^1]);

    /// <summary>Normalised states of the last layer, one per token.</summary>
    public double[][] Hidden(IReadOnlyList<int> tokens)
    {
        var x = tokens.Select(token => Row(W("model.embed_tokens.weight"), token, _config.HiddenSize)).ToArray();
        for (var layer = 0; layer < _config.NumHiddenLayers; layer++)
        {
            var prefix = $"model.layers.{layer}.";
            var attended = Attention(prefix + "self_attn.", [.. x.Select(row => Norm(row, W(prefix + "input_layernorm.weight")))]);
            x = [.. x.Zip(attended, Add)];
            x = [.. x.Select(row => Add(row, Mlp(prefix + "mlp.", Norm(row, W(prefix + "post_attention_layernorm.weight")))))];
        }

        return [.. x.Select(row => Norm(row, W("model.norm.weight")))];
    }

    public List<int> Greedy(IReadOnlyList<int> prompt, int count)
    {
        var tokens = prompt.ToList();
        for (var i = 0; i < count; i++)
        {
            var logits = Logits(tokens);
            tokens.Add(Array.IndexOf(logits, logits.Max()));
        }

        return tokens[prompt.Count..];
    }

    private double[][] Attention(string prefix, double[][] x)
    {
        int size = _config.HeadDim, group = _config.NumAttentionHeads / _config.NumKeyValueHeads;
        var q = Heads(prefix + "q", x, _config.NumAttentionHeads, rotate: true);
        var k = Heads(prefix + "k", x, _config.NumKeyValueHeads, rotate: true);
        var v = Heads(prefix + "v", x, _config.NumKeyValueHeads, rotate: false);
        return [.. Enumerable.Range(0, x.Length).Select(t =>
        {
            var joined = new double[_config.NumAttentionHeads * size];
            for (var head = 0; head < _config.NumAttentionHeads; head++)
            {
                var scores = Enumerable.Range(0, t + 1).Select(s => Dot(q[t][head], k[s][head / group]) / Math.Sqrt(size)).ToArray();
                var max = scores.Max();
                var total = scores.Sum(score => Math.Exp(score - max));
                for (var s = 0; s <= t; s++)
                {
                    for (var d = 0; d < size; d++)
                        joined[(head * size) + d] += Math.Exp(scores[s] - max) / total * v[s][head / group][d];
                }
            }

            return Multiply(W(prefix + "o_proj.weight"), joined);
        })];
    }

    private double[][][] Heads(string name, double[][] x, int heads, bool rotate)
    {
        var norm = rotate && _config.QkNorm ? W(name + "_norm.weight") : null;
        var bias = _config.AttentionBias ? W(name + "_proj.bias") : null;
        return [.. x.Select((row, position) =>
        {
            var projected = Multiply(W(name + "_proj.weight"), row);
            if (bias is not null)
                projected = [.. projected.Zip(bias, (a, b) => a + b)];
            return Enumerable.Range(0, heads).Select(head =>
            {
                var h = projected[(head * _config.HeadDim)..((head + 1) * _config.HeadDim)];
                if (norm is not null)
                    h = Norm(h, norm);
                return rotate ? Rotate(h, position) : h;
            }).ToArray();
        })];
    }

    private double[] Rotate(double[] head, int position)
    {
        var half = head.Length / 2;
        var rotated = new double[head.Length];
        for (var d = 0; d < half; d++)
        {
            var angle = position / Math.Pow(_config.RopeTheta, (double)d / half);
            rotated[d] = (head[d] * Math.Cos(angle)) - (head[d + half] * Math.Sin(angle));
            rotated[d + half] = (head[d + half] * Math.Cos(angle)) + (head[d] * Math.Sin(angle));
        }

        return rotated;
    }

    private double[] Mlp(string prefix, double[] x)
    {
        var gate = Multiply(W(prefix + "gate_proj.weight"), x);
        var up = Multiply(W(prefix + "up_proj.weight"), x);
        return Multiply(W(prefix + "down_proj.weight"), [.. gate.Zip(up, (g, u) => g / (1 + Math.Exp(-g)) * u)]);
    }

    private double[] Norm(double[] x, float[] weight)
    {
        var scale = 1 / Math.Sqrt((x.Sum(value => value * value) / x.Length) + _config.RmsNormEps);
        return [.. x.Select((value, i) => value * scale * weight[i])];
    }

    private float[] W(string name) => model.ByName[name];

    private static double[] Row(float[] matrix, int row, int width) => [.. matrix.AsSpan(row * width, width).ToArray().Select(value => (double)value)];

    private static double[] Add(double[] a, double[] b) => [.. a.Zip(b, (x, y) => x + y)];

    private static double Dot(double[] a, double[] b) => a.Zip(b, (x, y) => x * y).Sum();

    private static double[] Multiply(float[] matrix, double[] x)
    {
        var result = new double[matrix.Length / x.Length];
        for (var i = 0; i < result.Length; i++)
        {
            for (var j = 0; j < x.Length; j++)
                result[i] += matrix[(i * x.Length) + j] * x[j];
        }

        return result;
    }
}
