using System.Runtime.Intrinsics;

namespace Platform.Serving.Execution;

/// <summary>
/// The work of a decoder layer between its matrix products, row by row in fp32. A row's result depends on that row alone and
/// every sum has one order, so the bits are the same in any batch. Widths need not be multiples of 16.
/// </summary>
internal static unsafe class RowKernels
{
    private const int Lanes = 16;

    /// <summary>Copies a row of the embedding.</summary>
    public static void Widen<T>(T* source, float* target, int width)
        where T : unmanaged, IElement<T>
    {
        var i = 0;
        for (; i + Lanes <= width; i += Lanes)
            T.Load(source + i).Store(target + i);
        for (; i < width; i++)
            target[i] = T.ToSingle(source[i]);
    }

    /// <summary>Rounds a row to elements.</summary>
    public static void Narrow<T>(float* source, T* target, int width)
        where T : unmanaged, IElement<T>
    {
        var i = 0;
        for (; i + Lanes <= width; i += Lanes)
            T.Store(target + i, Vector512.Load(source + i));
        for (; i < width; i++)
            target[i] = T.FromSingle(source[i]);
    }

    /// <summary>Root-mean-square normalisation (Zhang and Sennrich 2019, equation 4): <c>x / sqrt(mean(x²) + ε) · w</c>.</summary>
    public static void Normalise<T>(float* row, float* weight, double epsilon, T* result, int width)
        where T : unmanaged, IElement<T>
    {
        var scale = InverseRootMeanSquare(row, epsilon, width);
        var factor = Vector512.Create(scale);
        var i = 0;
        for (; i + Lanes <= width; i += Lanes)
            T.Store(result + i, Vector512.Load(row + i) * factor * Vector512.Load(weight + i));
        for (; i < width; i++)
            result[i] = T.FromSingle(row[i] * scale * weight[i]);
    }

    /// <summary>The gated unit's product: <c>g · sigmoid(g) · u</c>.</summary>
    public static Vector512<float> Gated(Vector512<float> gate, Vector512<float> factor) =>
        gate / (Vector512<float>.One + Vector512.Exp(-gate)) * factor;

    /// <summary>
    /// Rotates one head by its position (Su et al. 2021, in Hugging Face's pairing of the halves), after normalising it when
    /// the model does, and multiplies it by a factor.
    /// </summary>
    /// <param name="head">The head's elements.</param>
    /// <param name="normWeight">Weight of the head's norm, or null.</param>
    /// <param name="epsilon">Epsilon of the norm.</param>
    /// <param name="cosine">Cosines of the position, D / 2.</param>
    /// <param name="sine">Sines of the position, D / 2.</param>
    /// <param name="factor">Factor.</param>
    /// <param name="result">D numbers; may be the head itself.</param>
    /// <param name="size">D, even.</param>
    public static void Rotate(
        float* head, float* normWeight, double epsilon, float* cosine, float* sine, float factor, float* result, int size)
    {
        var half = size / 2;
        if (normWeight != null)
        {
            var scale = InverseRootMeanSquare(head, epsilon, size);
            for (var i = 0; i < size; i++)
                result[i] = head[i] * (scale * normWeight[i]);
            head = result;
        }

        var d = 0;
        for (var factors = Vector512.Create(factor); d + Lanes <= half; d += Lanes)
        {
            var (first, second) = (Vector512.Load(head + d), Vector512.Load(head + half + d));
            var (cos, sin) = (Vector512.Load(cosine + d), Vector512.Load(sine + d));
            (((first * cos) - (second * sin)) * factors).Store(result + d);
            (((second * cos) + (first * sin)) * factors).Store(result + half + d);
        }

        for (; d < half; d++)
        {
            var (first, second) = (head[d], head[d + half]);
            result[d] = ((first * cosine[d]) - (second * sine[d])) * factor;
            result[d + half] = ((second * cosine[d]) + (first * sine[d])) * factor;
        }
    }

    private static float InverseRootMeanSquare(float* row, double epsilon, int width)
    {
        var squares = Vector512<float>.Zero;
        var i = 0;
        for (; i + Lanes <= width; i += Lanes)
        {
            var x = Vector512.Load(row + i);
            squares = Vector512.FusedMultiplyAdd(x, x, squares);
        }

        double sum = Vector512.Sum(squares);
        for (; i < width; i++)
            sum += row[i] * row[i];
        return (float)(1 / Math.Sqrt((sum / width) + epsilon));
    }
}
