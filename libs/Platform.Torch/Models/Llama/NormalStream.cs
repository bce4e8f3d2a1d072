using System.Runtime.Intrinsics;
using System.Text;

namespace Platform.Torch.Models.Llama;

/// <summary>
/// A sequence of independent standard normal numbers in which each element is a function of the key and its index alone,
/// so any stretch can be produced by itself. Element i is Box and Muller's transform of the two halves of SplitMix64's
/// i-th output (Steele, Lea and Flood 2014). Logarithm and cosine are polynomials made of additions, multiplications and
/// divisions in a fixed order, without fused operations: the same bits on every machine.
/// </summary>
public readonly struct NormalStream
{
    private const ulong Golden = 0x9e3779b97f4a7c15;
    private readonly ulong _key;

    /// <summary>The stream of a seed and a name.</summary>
    public NormalStream(long seed, string name) => _key = KeyOf(seed, name);

    /// <summary>Fills a span with elements from <paramref name="first"/> on, each times <paramref name="scale"/>.</summary>
    public void Fill(Span<double> destination, long first, double scale)
    {
        var index = (ulong)first;
        for (; destination.Length >= 4; destination = destination[4..], index += 4)
            (Next(index) * scale).CopyTo(destination);
        var rest = Next(index) * scale;
        for (var i = 0; i < destination.Length; i++)
            destination[i] = rest[i];
    }

    /// <summary>The same elements, rounded to single precision.</summary>
    public void Fill(Span<float> destination, long first, double scale)
    {
        var index = (ulong)first;
        for (; destination.Length >= 8; destination = destination[8..], index += 8)
            Vector256.Narrow(Next(index) * scale, Next(index + 4) * scale).CopyTo(destination);
        Span<float> rest = stackalloc float[8];
        Vector256.Narrow(Next(index) * scale, Next(index + 4) * scale).CopyTo(rest);
        rest[..destination.Length].CopyTo(destination);
    }

    /// <summary>Key of the stream of a seed and a name.</summary>
    internal static ulong KeyOf(long seed, string name)
    {
        var hash = 0xcbf29ce484222325; // FNV-1a, so that the key does not depend on .NET's own hash of strings.
        foreach (var symbol in Encoding.UTF8.GetBytes(name))
            hash = (hash ^ symbol) * 0x100000001b3;
        return Mix(Mix((ulong)seed) ^ hash);
    }

    /// <summary>SplitMix64's output of an element of a stream.</summary>
    internal static ulong BitsOf(ulong key, ulong index) => Mix(key + ((index + 1) * Golden));

    private Vector256<double> Next(ulong index)
    {
        var counter = Vector256.Create(index + 1, index + 2, index + 3, index + 4);
        var bits = Mix(Vector256.Create(_key) + (counter * Golden));

        // Halves of the output become numbers in [1, 2) by filling the top of the mantissa: exact.
        var one = Vector256.Create(1.0);
        var exponent = one.AsUInt64();
        var first = ((bits >>> 32 << 20) | exponent).AsDouble();
        var second = ((bits << 32 >>> 12) | exponent).AsDouble();

        var radius = Vector256.Sqrt(Logarithm(Vector256.Create(2.0) - first) * -2.0); // of a number in (0, 1]
        var turn = Vector256.Abs(second - Vector256.Create(1.5)); // cos 2πu = −sin 2π(¼ − |u − ½|)
        return -(radius * Sine((Vector256.Create(0.25) - turn) * (2 * Math.PI)));
    }

    /// <summary>Natural logarithm of normal numbers in (0, 1].</summary>
    private static Vector256<double> Logarithm(Vector256<double> x)
    {
        // x = 2^e · m with m in [1, 2); halve m above √2; ln m = 2·artanh((m − 1) / (m + 1)).
        var bits = x.AsUInt64();
        var mantissa = ((bits & Vector256.Create(0x000fffffffffffffUL)) | Vector256.Create(1.0).AsUInt64()).AsDouble();
        // 2^52 + biased exponent, read as a double, minus 2^52: exact.
        var exponent = ((bits >>> 52) | Vector256.Create(4503599627370496.0).AsUInt64()).AsDouble() - Vector256.Create(4503599627370496.0 + 1023);
        var large = Vector256.GreaterThan(mantissa, Vector256.Create(1.4142135623730951));
        mantissa = Vector256.ConditionalSelect(large, mantissa * 0.5, mantissa);
        exponent = Vector256.ConditionalSelect(large, exponent + Vector256.Create(1.0), exponent);

        var s = (mantissa - Vector256.Create(1.0)) / (mantissa + Vector256.Create(1.0));
        var s2 = s * s;
        var series = Vector256.Create(1.0 / 19);
        for (var odd = 17; odd >= 1; odd -= 2)
            series = (series * s2) + Vector256.Create(1.0 / odd);
        return (exponent * 0.6931471805599453) + (s * series * 2.0);
    }

    /// <summary>Sine of angles in [−π/2, π/2], by Taylor's series.</summary>
    private static Vector256<double> Sine(Vector256<double> x)
    {
        var x2 = x * x;
        var series = Vector256.Create(-1.0 / 121645100408832000); // −1/19!
        series = (series * x2) + Vector256.Create(1.0 / 355687428096000);
        series = (series * x2) - Vector256.Create(1.0 / 1307674368000);
        series = (series * x2) + Vector256.Create(1.0 / 6227020800);
        series = (series * x2) - Vector256.Create(1.0 / 39916800);
        series = (series * x2) + Vector256.Create(1.0 / 362880);
        series = (series * x2) - Vector256.Create(1.0 / 5040);
        series = (series * x2) + Vector256.Create(1.0 / 120);
        series = (series * x2) - Vector256.Create(1.0 / 6);
        series = (series * x2) + Vector256.Create(1.0);
        return x * series;
    }

    private static ulong Mix(ulong z)
    {
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }

    private static Vector256<ulong> Mix(Vector256<ulong> z)
    {
        z = (z ^ (z >>> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >>> 27)) * 0x94d049bb133111eb;
        return z ^ (z >>> 31);
    }
}
