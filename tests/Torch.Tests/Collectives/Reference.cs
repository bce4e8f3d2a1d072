using System.Buffers.Binary;
using Platform.Torch.Collectives;

namespace Platform.Torch.Tests.Collectives;

/// <summary>What reductions mean, written element by element without vectors, chunks or transports.</summary>
internal static class Reference
{
    /// <summary>Numbers of the type, of mixed sign and magnitude, so that the order of a sum shows in its bits.</summary>
    public static byte[] Random(Random random, long count, CollectiveElement element)
    {
        var bytes = new byte[count * element.SizeBytes()];
        for (var i = 0; i < count; i++)
        {
            var value = (random.NextDouble() - 0.5) * Math.Pow(10, random.Next(-3, 4));
            switch (element)
            {
                case CollectiveElement.Float32: BinaryPrimitives.WriteSingleLittleEndian(bytes.AsSpan(i * 4), (float)value); break;
                case CollectiveElement.Float64: BinaryPrimitives.WriteDoubleLittleEndian(bytes.AsSpan(i * 8), value); break;
                case CollectiveElement.BFloat16: BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(i * 2), BitConverter.GetBytes((float)value) is var b ? (ushort)(b[2] | b[3] << 8) : (ushort)0); break;
                case CollectiveElement.Int64: BinaryPrimitives.WriteInt64LittleEndian(bytes.AsSpan(i * 8), random.NextInt64(long.MinValue, long.MaxValue)); break;
                case CollectiveElement.Byte: bytes[i] = (byte)random.Next(256); break;
            }
        }
        return bytes;
    }

    public static byte[] Reduce(IReadOnlyList<byte[]> inputs, CollectiveElement element, ReduceOperation operation)
    {
        var size = element.SizeBytes();
        var result = new byte[inputs[0].Length];
        for (var at = 0; at < result.Length; at += size)
        {
            var target = result.AsSpan(at, size);
            switch (element)
            {
                case CollectiveElement.Float32:
                    BinaryPrimitives.WriteSingleLittleEndian(target, Floats(inputs.Select(x => BinaryPrimitives.ReadSingleLittleEndian(x.AsSpan(at))), operation));
                    break;
                case CollectiveElement.BFloat16:
                    BinaryPrimitives.WriteUInt16LittleEndian(target, RoundToBFloat16(Floats(
                        inputs.Select(x => BitConverter.Int32BitsToSingle(BinaryPrimitives.ReadUInt16LittleEndian(x.AsSpan(at)) << 16)), operation)));
                    break;
                case CollectiveElement.Float64:
                    BinaryPrimitives.WriteDoubleLittleEndian(target, Doubles(inputs.Select(x => BinaryPrimitives.ReadDoubleLittleEndian(x.AsSpan(at))), operation));
                    break;
                case CollectiveElement.Int64:
                    BinaryPrimitives.WriteInt64LittleEndian(target, Longs(inputs.Select(x => BinaryPrimitives.ReadInt64LittleEndian(x.AsSpan(at))), operation));
                    break;
                case CollectiveElement.Byte:
                    target[0] = (byte)Longs(inputs.Select(x => (long)x[at]), operation);
                    break;
            }
        }
        return result;
    }

    /// <summary>The nearest of the two neighbours in bfloat16, found by comparing distances in binary64.</summary>
    public static ushort RoundToBFloat16(float value)
    {
        var down = (ushort)(BitConverter.SingleToUInt32Bits(value) >> 16);
        var up = (ushort)(down + 1);
        var below = Math.Abs(value - (double)BitConverter.Int32BitsToSingle(down << 16));
        var above = Math.Abs((double)BitConverter.Int32BitsToSingle(up << 16) - value);
        return below < above || (below == above && (down & 1) == 0) ? down : up;
    }

    private static float Floats(IEnumerable<float> values, ReduceOperation operation)
    {
        var all = values.ToArray();
        return operation switch
        {
            ReduceOperation.Max => all.Max(),
            ReduceOperation.Min => all.Min(),
            ReduceOperation.Average => all.Skip(1).Aggregate(all[0], (a, b) => a + b) / all.Length,
            _ => all.Skip(1).Aggregate(all[0], (a, b) => a + b),
        };
    }

    private static double Doubles(IEnumerable<double> values, ReduceOperation operation)
    {
        var all = values.ToArray();
        return operation switch
        {
            ReduceOperation.Max => all.Max(),
            ReduceOperation.Min => all.Min(),
            ReduceOperation.Average => all.Skip(1).Aggregate(all[0], (a, b) => a + b) / all.Length,
            _ => all.Skip(1).Aggregate(all[0], (a, b) => a + b),
        };
    }

    private static long Longs(IEnumerable<long> values, ReduceOperation operation)
    {
        var all = values.ToArray();
        return operation switch
        {
            ReduceOperation.Max => all.Max(),
            ReduceOperation.Min => all.Min(),
            _ => all.Aggregate(0L, (a, b) => unchecked(a + b)),
        };
    }
}
