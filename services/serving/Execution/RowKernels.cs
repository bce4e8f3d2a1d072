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

    /// <summary>Adds a row to the residual stream.</summary>
    public static void Add<T>(float* residual, T* delta, int width)
        where T : unmanaged, IElement<T>
    {
        var i = 0;
        for (; i + Lanes <= width; i += Lanes)
            (Vector512.Load(residual + i) + T.Load(delta + i)).Store(residual + i);
        for (; i < width; i++)
            residual[i] += T.ToSingle(delta[i]);
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

    /// <summary>The gated unit's product: <c>g · sigmoid(g) · u</c>, where g and u are the halves of the input row.</summary>
    public static void Gate<T>(T* gateAndUp, T* result, int width)
        where T : unmanaged, IElement<T>
    {
        var i = 0;
        for (; i + Lanes <= width; i += Lanes)
        {
            var gate = T.Load(gateAndUp + i);
            T.Store(result + i, gate / (Vector512<float>.One + Vector512.Exp(-gate)) * T.Load(gateAndUp + width + i));
        }

        for (; i < width; i++)
        {
            var gate = T.ToSingle(gateAndUp[i]);
            result[i] = T.FromSingle(gate / (1 + MathF.Exp(-gate)) * T.ToSingle(gateAndUp[width + i]));
        }
    }

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
    /// <param name="result">D numbers.</param>
    /// <param name="size">D, even.</param>
    public static void Rotate<T>(
        T* head, float* normWeight, double epsilon, float* cosine, float* sine, float factor, float* result, int size)
        where T : unmanaged, IElement<T>
    {
        var half = size / 2;
        Widen(head, result, size);
        if (normWeight != null)
        {
            var scale = InverseRootMeanSquare(result, epsilon, size);
            for (var d = 0; d < size; d++)
                result[d] *= scale * normWeight[d];
        }

        for (var d = 0; d < half; d++)
        {
            var (first, second) = (result[d], result[d + half]);
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
