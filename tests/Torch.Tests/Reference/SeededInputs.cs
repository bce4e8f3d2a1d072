using Xunit;
using static TorchSharp.torch;

namespace Platform.Torch.Tests.Reference;

/// <summary>Fresh random inputs of a test. The seed is printed; set PLATFORM_TEST_SEED to repeat a run.</summary>
internal sealed class SeededInputs
{
    private readonly Random _random;

    public SeededInputs()
    {
        Seed = int.TryParse(Environment.GetEnvironmentVariable("PLATFORM_TEST_SEED"), out var seed)
            ? seed
            : Random.Shared.Next();
        TestContext.Current.TestOutputHelper?.WriteLine($"seed = {Seed}");
        _random = new Random(Seed);
    }

    public int Seed { get; }

    public int Between(int low, int highInclusive) => _random.Next(low, highInclusive + 1);

    public double[] Normal(long count, double scale = 1)
    {
        var values = new double[count];
        for (var i = 0; i < values.Length; i++)
            values[i] = scale * Math.Sqrt(-2 * Math.Log(1 - _random.NextDouble())) * Math.Cos(2 * Math.PI * _random.NextDouble());
        return values;
    }

    public Tensor Tensor(ScalarType type, params long[] shape)
    {
        using var exact = TensorMemory.FromSpan<double>(Normal(shape.Aggregate(1L, (product, length) => product * length)), shape, ScalarType.Float64);
        return exact.to(type, copy: true);
    }
}
