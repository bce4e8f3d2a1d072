using System.Collections.Concurrent;
using Platform.Torch.Collectives;

namespace Platform.Torch.Tests.Collectives;

/// <summary>Inputs by rank and their reductions, made once and shared by the threads of all ranks.</summary>
internal static class Cases
{
    private static readonly ConcurrentDictionary<(int, long, CollectiveElement), Lazy<byte[][]>> Made = new();
    private static readonly ConcurrentDictionary<(int, long, CollectiveElement, ReduceOperation), Lazy<byte[]>> Reduced = new();

    public static byte[][] Inputs(int size, long count, CollectiveElement element) =>
        Made.GetOrAdd((size, count, element), key => new Lazy<byte[][]>(() =>
            [.. Enumerable.Range(0, size).Select(rank => Reference.Random(new Random((rank * 31 + (int)count) * 7 + (int)element), count, element))])).Value;

    public static byte[] Reduction(int size, long count, CollectiveElement element, ReduceOperation operation) =>
        Reduced.GetOrAdd((size, count, element, operation), key => new Lazy<byte[]>(() =>
            Reference.Reduce(Inputs(size, count, element), element, operation))).Value;
}
