using System.Diagnostics;
using TorchSharp;
using ScalarType = TorchSharp.torch.ScalarType;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Benchmarks.Training;

/// <summary>
/// How fast libtorch multiplies matrices with the threads of this process: <c>x·Wᵀ</c> in the three shapes that take most of
/// the model's time (to the inner size, back, to the vocabulary), and the fastest of them counts.
/// </summary>
internal sealed class MatrixRate : IDisposable
{
    private readonly List<(Tensor Left, Tensor Right, double Operations)> products = [];

    public MatrixRate(TrainedModel model, ScalarType type)
    {
        var rows = model.TokensPerStep;
        foreach (var (inputs, outputs) in new[] { (model.Hidden, 2 * model.Inner), (model.Inner, model.Hidden), (model.Hidden, model.Vocabulary) })
            products.Add((
                torch.rand([rows, inputs], dtype: type).DetachFromDisposeScope(), torch.rand([outputs, inputs], dtype: type).DetachFromDisposeScope(),
                2.0 * rows * inputs * outputs));
    }

    /// <summary>Operations per second of the fastest shape.</summary>
    /// <param name="seconds">How long each shape is measured at least.</param>
    public double Measure(double seconds) => products.Max(product => Measure(product.Left, product.Right, product.Operations, seconds));

    public void Dispose() => products.ForEach(product =>
    {
        product.Left.Dispose();
        product.Right.Dispose();
    });

    private static double Measure(Tensor left, Tensor right, double operations, double seconds)
    {
        Once();
        var begun = Stopwatch.GetTimestamp();
        var count = 0;
        double elapsed;
        do
        {
            Once();
            count++;
            elapsed = Stopwatch.GetElapsedTime(begun).TotalSeconds;
        }
        while (elapsed < seconds);
        return count * operations / elapsed;

        void Once()
        {
            using var product = torch.nn.functional.linear(left, right);
        }
    }
}
