using System.Numerics;
using System.Runtime.InteropServices;
using Platform.Core.Models;
using Platform.Formats.HuggingFace;

namespace Platform.Benchmarks.Serving;

/// <summary>
/// A Llama's forward pass in fp64 over the fp32 weights of a directory, written from the papers and sharing no code with the
/// engine: what two engines that disagree are judged by.
/// </summary>
internal sealed class ExactForward(BenchModel model) : IDisposable
{
    private const int OutputsAtOnce = 4;

    private readonly ModelConfig _config = model.Config;
    private readonly HuggingFaceModelDirectory _directory = HuggingFaceModelDirectory.Open(model.Directory);

    /// <summary>Logits after each token from a position on.</summary>
    /// <param name="tokens">The sequence.</param>
    /// <param name="first">First position whose logits are wanted.</param>
    public double[][] Logits(IReadOnlyList<int> tokens, int first)
    {
        var width = _config.HiddenSize;
        var x = tokens.Select(token => Widened(Weight("model.embed_tokens.weight").Slice(token * width, width))).ToArray();
        for (var layer = 0; layer < _config.NumHiddenLayers; layer++)
        {
            var prefix = $"model.layers.{layer}.";
            Add(x, Attention(prefix + "self_attn.", Normalised(x, prefix + "input_layernorm.weight")));
            Add(x, Mlp(prefix + "mlp.", Normalised(x, prefix + "post_attention_layernorm.weight")));
        }

        return Product(_config.TieWordEmbeddings ? "model.embed_tokens.weight" : "lm_head.weight", Normalised(x[first..], "model.norm.weight"));
    }

    /// <summary>The most likely token, and by how much its logit exceeds that of the next.</summary>
    public static (int Token, double Lead) Top(double[] logits)
    {
        var best = Array.IndexOf(logits, logits.Max());
        return (best, logits[best] - logits.Where((_, token) => token != best).Max());
    }

    public void Dispose() => _directory.Dispose();

    private double[][] Attention(string prefix, double[][] x)
    {
        int size = _config.HeadDim, group = _config.HeadsPerKeyValueHead;
        var (q, k, v) = (Product(prefix + "q_proj.weight", x), Product(prefix + "k_proj.weight", x), Product(prefix + "v_proj.weight", x));
        Parallel.For(0, x.Length, position =>
        {
            Rotate(q[position], position);
            Rotate(k[position], position);
        });
        var mixed = x.Select(_ => new double[_config.NumAttentionHeads * size]).ToArray();
        Parallel.For(0, x.Length * _config.NumAttentionHeads, item =>
        {
            var (t, head) = (item / _config.NumAttentionHeads, item % _config.NumAttentionHeads);
            var (own, shared) = (head * size, head / group * size);
            var weights = new double[t + 1];
            for (var s = 0; s <= t; s++)
                weights[s] = Dot(q[t].AsSpan(own, size), k[s].AsSpan(shared, size)) / Math.Sqrt(size);
            var max = weights.Max();
            var total = 0.0;
            for (var s = 0; s <= t; s++)
                total += weights[s] = Math.Exp(weights[s] - max);
            for (var s = 0; s <= t; s++)
            {
                for (var d = 0; d < size; d++)
                    mixed[t][own + d] += weights[s] / total * v[s][shared + d];
            }
        });
        return Product(prefix + "o_proj.weight", mixed);
    }

    /// <summary>Rotates every head, element i of its first half with element i of its second.</summary>
    private void Rotate(double[] row, int position)
    {
        var (size, half) = (_config.HeadDim, _config.HeadDim / 2);
        for (var head = 0; head < row.Length; head += size)
        {
            for (var d = 0; d < half; d++)
            {
                var (sine, cosine) = Math.SinCos(position / Math.Pow(_config.RopeTheta, (double)d / half));
                var (a, b) = (row[head + d], row[head + half + d]);
                (row[head + d], row[head + half + d]) = ((a * cosine) - (b * sine), (b * cosine) + (a * sine));
            }
        }
    }

    private double[][] Mlp(string prefix, double[][] x)
    {
        var (gate, up) = (Product(prefix + "gate_proj.weight", x), Product(prefix + "up_proj.weight", x));
        Parallel.For(0, x.Length, t =>
        {
            for (var i = 0; i < gate[t].Length; i++)
                gate[t][i] = gate[t][i] / (1 + Math.Exp(-gate[t][i])) * up[t][i];
        });
        return Product(prefix + "down_proj.weight", gate);
    }

    private double[][] Normalised(double[][] x, string name)
    {
        var weight = Widened(Weight(name));
        return [.. x.Select(row =>
        {
            var scale = 1 / Math.Sqrt((Dot(row, row) / row.Length) + _config.RmsNormEps);
            return row.Select((value, i) => value * scale * weight[i]).ToArray();
        })];
    }

    /// <summary>Products of rows with a matrix [outputs, inputs].</summary>
    private double[][] Product(string name, double[][] x)
    {
        var inputs = x[0].Length;
        var outputs = Weight(name).Length / inputs;
        var result = x.Select(_ => new double[outputs]).ToArray();
        Parallel.For(0, (outputs + OutputsAtOnce - 1) / OutputsAtOnce, block =>
        {
            var first = block * OutputsAtOnce;
            var count = Math.Min(OutputsAtOnce, outputs - first);
            var rows = Widened(Weight(name).Slice(first * inputs, count * inputs));
            for (var t = 0; t < x.Length; t++)
            {
                for (var i = 0; i < count; i++)
                    result[t][first + i] = Dot(x[t], rows.AsSpan(i * inputs, inputs));
            }
        });
        return result;
    }

    private ReadOnlySpan<float> Weight(string name) => MemoryMarshal.Cast<byte, float>(_directory.Span(name));

    private static double[] Widened(ReadOnlySpan<float> values)
    {
        var wide = new double[values.Length];
        for (var i = 0; i < wide.Length; i++)
            wide[i] = values[i];
        return wide;
    }

    private static void Add(double[][] x, double[][] y)
    {
        for (var t = 0; t < x.Length; t++)
        {
            for (var i = 0; i < x[t].Length; i++)
                x[t][i] += y[t][i];
        }
    }

    private static double Dot(ReadOnlySpan<double> a, ReadOnlySpan<double> b)
    {
        var left = MemoryMarshal.Cast<double, Vector<double>>(a);
        var right = MemoryMarshal.Cast<double, Vector<double>>(b);
        Vector<double> even = default, odd = default;
        var i = 0;
        for (; i + 1 < left.Length; i += 2)
        {
            even += left[i] * right[i];
            odd += left[i + 1] * right[i + 1];
        }

        for (; i < left.Length; i++)
            even += left[i] * right[i];
        var sum = Vector.Sum(even + odd);
        for (var j = left.Length * Vector<double>.Count; j < a.Length; j++)
            sum += a[j] * b[j];
        return sum;
    }
}
