namespace Platform.Serving.Core.Sampling;

/// <summary>
/// Philox4x32-10, a counter-based random generator (Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3"): the
/// output is a pure function of key and counter, so a draw does not depend on what was drawn before or elsewhere.
/// </summary>
public static class Philox
{
    private const uint Multiplier0 = 0xD2511F53, Multiplier1 = 0xCD9E8D57;
    private const uint Weyl0 = 0x9E3779B9, Weyl1 = 0xBB67AE85;
    private const int Rounds = 10;

    /// <summary>Four words for a key and a counter of two and four words.</summary>
    public static (uint X0, uint X1, uint X2, uint X3) Words(
        (uint K0, uint K1) key, (uint C0, uint C1, uint C2, uint C3) counter)
    {
        var (k0, k1) = key;
        var (c0, c1, c2, c3) = counter;
        for (var i = 0; i < Rounds; i++)
        {
            var product0 = (ulong)Multiplier0 * c0;
            var product1 = (ulong)Multiplier1 * c2;
            (c0, c1, c2, c3) = ((uint)(product1 >> 32) ^ c1 ^ k0, (uint)product1, (uint)(product0 >> 32) ^ c3 ^ k1, (uint)product0);
            k0 += Weyl0;
            k1 += Weyl1;
        }

        return (c0, c1, c2, c3);
    }

    /// <summary>A number in [0, 1) with 53 random bits for one token of one choice.</summary>
    /// <param name="seed">Seed of the request.</param>
    /// <param name="choice">Choice of the request, from 0.</param>
    /// <param name="position">Index of the token in the choice's output, from 0.</param>
    public static double Uniform(long seed, int choice, int position)
    {
        var (x0, x1, _, _) = Words(((uint)seed, (uint)(seed >> 32)), ((uint)position, (uint)choice, 0, 0));
        return ((((ulong)x0 << 32) | x1) >> 11) * (1.0 / (1UL << 53));
    }
}
