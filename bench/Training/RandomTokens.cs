using System.Runtime.InteropServices;
using Platform.Worker.Engine.Data;

namespace Platform.Benchmarks.Training;

/// <summary>A file of pseudo-random tokens, the same in every process, deleted at the end.</summary>
internal sealed class RandomTokens : IDisposable
{
    private readonly string path = Path.GetTempFileName();

    public RandomTokens(int vocabulary, int count)
    {
        var random = new Random(1);
        var ids = new ushort[count];
        foreach (ref var id in ids.AsSpan())
            id = (ushort)random.Next(vocabulary);
        System.IO.File.WriteAllBytes(path, MemoryMarshal.AsBytes(ids.AsSpan()));
        File = TokenFile.Open(path, count, sizeof(ushort));
    }

    public TokenFile File { get; }

    public void Dispose()
    {
        File.Dispose();
        System.IO.File.Delete(path);
    }
}
