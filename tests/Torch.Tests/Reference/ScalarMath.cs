namespace Platform.Torch.Tests.Reference;

/// <summary>The formulas of a Llama decoder over plain arrays of doubles, one loop per sum, written for reading.</summary>
internal static class ScalarMath
{
    public static double Silu(double x) => x / (1 + Math.Exp(-x));

    /// <summary>Normalises each row of <c>weight.Length</c> elements.</summary>
    public static double[] RmsNorm(double[] x, double[] weight, double epsilon)
    {
        var width = weight.Length;
        var result = new double[x.Length];
        for (var row = 0; row < x.Length / width; row++)
        {
            double squares = 0;
            for (var i = 0; i < width; i++)
                squares += x[row * width + i] * x[row * width + i];
            var scale = 1 / Math.Sqrt(squares / width + epsilon);
            for (var i = 0; i < width; i++)
                result[row * width + i] = x[row * width + i] * scale * weight[i];
        }

        return result;
    }

    /// <summary><c>x·weightᵀ + bias</c>; x [rows, inputs], weight [outputs, inputs].</summary>
    public static double[] Linear(double[] x, double[] weight, double[]? bias, int inputs)
    {
        int rows = x.Length / inputs, outputs = weight.Length / inputs;
        var result = new double[rows * outputs];
        for (var r = 0; r < rows; r++)
        {
            for (var o = 0; o < outputs; o++)
            {
                var sum = bias?[o] ?? 0;
                for (var i = 0; i < inputs; i++)
                    sum += x[r * inputs + i] * weight[o * inputs + i];
                result[r * outputs + o] = sum;
            }
        }

        return result;
    }

    /// <summary>
    /// Attention of one sequence: query [heads, T, D], key and value [keyValueHeads, S, D]; <paramref name="allowed"/> says
    /// whether query position t may see key position s.
    /// </summary>
    public static double[] Attention(
        double[] query, double[] key, double[] value, int heads, int keyValueHeads, int size, double scale, Func<int, int, bool> allowed)
    {
        int queries = query.Length / heads / size, keys = key.Length / keyValueHeads / size;
        var result = new double[query.Length];
        var weights = new double[keys];
        for (var h = 0; h < heads; h++)
        {
            var shared = h / (heads / keyValueHeads);
            for (var t = 0; t < queries; t++)
            {
                var largest = double.NegativeInfinity;
                for (var s = 0; s < keys; s++)
                {
                    weights[s] = double.NegativeInfinity;
                    if (!allowed(t, s))
                        continue;
                    double dot = 0;
                    for (var d = 0; d < size; d++)
                        dot += query[(h * queries + t) * size + d] * key[(shared * keys + s) * size + d];
                    weights[s] = dot * scale;
                    largest = Math.Max(largest, weights[s]);
                }

                double total = 0;
                for (var s = 0; s < keys; s++)
                    total += weights[s] = Math.Exp(weights[s] - largest);
                for (var s = 0; s < keys; s++)
                {
                    for (var d = 0; d < size; d++)
                        result[(h * queries + t) * size + d] += weights[s] / total * value[(shared * keys + s) * size + d];
                }
            }
        }

        return result;
    }

    /// <summary>Central differences of a function of many variables.</summary>
    public static double[] NumericGradient(double[] at, Func<double[], double> function)
    {
        const double step = 1e-5;
        var gradient = new double[at.Length];
        for (var i = 0; i < at.Length; i++)
        {
            var moved = (double[])at.Clone();
            moved[i] = at[i] + step;
            var above = function(moved);
            moved[i] = at[i] - step;
            gradient[i] = (above - function(moved)) / (2 * step);
        }

        return gradient;
    }
}
