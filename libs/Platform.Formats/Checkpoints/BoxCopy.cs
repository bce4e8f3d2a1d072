using Platform.Formats.Safetensors;

namespace Platform.Formats.Checkpoints;

/// <summary>Copies the part that two boxes of one tensor share from one's dense bytes to the other's.</summary>
internal static unsafe class BoxCopy
{
    /// <param name="source">Row-major bytes of <paramref name="sourceBox"/>.</param>
    /// <param name="sourceBox">Where the source lies in the tensor.</param>
    /// <param name="destination">Row-major bytes of <paramref name="destinationBox"/>.</param>
    /// <param name="destinationBox">Where the destination lies in the tensor.</param>
    /// <param name="elementBytes">Bytes per element.</param>
    internal static void Copy(byte* source, TensorBox sourceBox, byte* destination, TensorBox destinationBox, int elementBytes)
    {
        if (sourceBox.Intersect(destinationBox) is not { } shared)
        {
            return;
        }
        // Trailing dims that the shared part fills in both are one run of bytes with the dim before them.
        var runDim = shared.Shape.Count;
        long runBytes = elementBytes;
        while (runDim > 0)
        {
            runDim--;
            runBytes *= shared.Shape[runDim];
            if (shared.Shape[runDim] != sourceBox.Shape[runDim] || shared.Shape[runDim] != destinationBox.Shape[runDim])
            {
                break;
            }
        }
        var index = new long[runDim];
        do
        {
            var from = Offset(shared, index, sourceBox) * elementBytes;
            var to = Offset(shared, index, destinationBox) * elementBytes;
            Buffer.MemoryCopy(source + from, destination + to, runBytes, runBytes);
        }
        while (Advance(index, shared.Shape));
    }

    /// <summary>Element of <paramref name="box"/> that is <paramref name="index"/> steps from the shared part's start.</summary>
    private static long Offset(TensorBox shared, long[] index, TensorBox box)
    {
        long offset = 0;
        for (var dim = 0; dim < box.Shape.Count; dim++)
        {
            var at = shared.Start[dim] - box.Start[dim] + (dim < index.Length ? index[dim] : 0);
            offset = (offset * box.Shape[dim]) + at;
        }
        return offset;
    }

    private static bool Advance(long[] index, TensorShape shape)
    {
        for (var dim = index.Length - 1; dim >= 0; dim--)
        {
            if (++index[dim] < shape[dim])
            {
                return true;
            }
            index[dim] = 0;
        }
        return false;
    }
}
