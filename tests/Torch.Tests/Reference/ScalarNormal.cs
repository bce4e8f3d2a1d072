using System.Text;

namespace Platform.Torch.Tests.Reference;

/// <summary>One element of the initialiser's stream, written with the library's logarithm and cosine.</summary>
internal static class ScalarNormal
{
    public static double Element(long seed, string name, long index)
    {
        var hash = 14695981039346656037UL;
        foreach (var symbol in Encoding.UTF8.GetBytes(name))
            hash = unchecked((hash ^ symbol) * 1099511628211UL);
        var key = SplitMix(SplitMix(unchecked((ulong)seed)) ^ hash);
        var bits = SplitMix(unchecked(key + (((ulong)index + 1) * 0x9e3779b97f4a7c15)));
        var first = 1 - ((bits >> 32) / 4294967296.0);
        var second = (bits & 0xffffffff) / 4294967296.0;
        return Math.Sqrt(-2 * Math.Log(first)) * Math.Cos(2 * Math.PI * second);
    }

    private static ulong SplitMix(ulong z)
    {
        z = unchecked((z ^ (z >> 30)) * 0xbf58476d1ce4e5b9);
        z = unchecked((z ^ (z >> 27)) * 0x94d049bb133111eb);
        return z ^ (z >> 31);
    }
}
