using Platform.Formats.Safetensors;

namespace Platform.Formats.Checkpoints;

/// <summary>A rectangular part of a tensor: so many elements per dim, from an index per dim.</summary>
/// <param name="Start">Index of the first element, per dim.</param>
/// <param name="Shape">Number of elements, per dim.</param>
public sealed record TensorBox(TensorShape Start, TensorShape Shape)
{
    /// <summary>The whole of a tensor.</summary>
    public static TensorBox Whole(TensorShape shape) => new(TensorShape.Create(new long[shape.Count]), shape);

    /// <summary>Rows <paramref name="first"/> to <paramref name="first"/> + <paramref name="count"/> of one dim, and all of the others.</summary>
    /// <param name="shape">Shape of the tensor.</param>
    /// <param name="dim">The dim that is cut.</param>
    /// <param name="first">First index taken.</param>
    /// <param name="count">Number of indices taken.</param>
    public static TensorBox Slice(TensorShape shape, int dim, long first, long count)
    {
        var start = new long[shape.Count];
        long[] lengths = [.. shape];
        start[dim] = first;
        lengths[dim] = count;
        return new TensorBox(TensorShape.Create(start), TensorShape.Create(lengths));
    }

    /// <summary>Whether the box lies inside a tensor of this shape.</summary>
    public bool Fits(TensorShape shape)
    {
        if (Start.Count != shape.Count || Shape.Count != shape.Count)
        {
            return false;
        }
        for (var dim = 0; dim < shape.Count; dim++)
        {
            if (Start[dim] > shape[dim] || Shape[dim] > shape[dim] - Start[dim])
            {
                return false;
            }
        }
        return true;
    }

    /// <summary>What two boxes of the same number of dims share; null when it is nothing.</summary>
    public TensorBox? Intersect(TensorBox other)
    {
        var start = new long[Start.Count];
        var lengths = new long[Start.Count];
        for (var dim = 0; dim < start.Length; dim++)
        {
            start[dim] = Math.Max(Start[dim], other.Start[dim]);
            var end = Math.Min(Start[dim] + Shape[dim], other.Start[dim] + other.Shape[dim]);
            if (end <= start[dim])
            {
                return null;
            }
            lengths[dim] = end - start[dim];
        }
        return new TensorBox(TensorShape.Create(start), TensorShape.Create(lengths));
    }

    /// <summary>The same box seen from a tensor of which this one's tensor is the part at <paramref name="origin"/>.</summary>
    public TensorBox Offset(TensorShape origin) => this with { Start = TensorShape.Create([.. Start.Zip(origin, (a, b) => a + b)]) };

    /// <summary>
    /// The boxes that a range of a tensor's elements in row-major order is made of, in that order: how an optimizer
    /// that shards a flattened tensor says what it holds.
    /// </summary>
    /// <param name="shape">Shape of the tensor.</param>
    /// <param name="first">First element.</param>
    /// <param name="count">Number of elements.</param>
    public static IReadOnlyList<TensorBox> OfFlatRange(TensorShape shape, long first, long count)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(first);
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, shape.ElementCount() - first);
        var boxes = new List<TensorBox>();
        if (count > 0)
        {
            AddFlatRange(shape, 0, new long[shape.Count], first, first + count, boxes);
        }
        return boxes;
    }

    /// <summary>Adds [first, end) of the sub-tensor that the prefix's first <paramref name="dim"/> indices select.</summary>
    private static void AddFlatRange(TensorShape shape, int dim, long[] prefix, long first, long end, List<TensorBox> boxes)
    {
        if (dim == shape.Count)
        {
            boxes.Add(Under(shape, dim, prefix, 0, 0));
            return;
        }
        long stride = 1;
        for (var inner = dim + 1; inner < shape.Count; inner++)
        {
            stride *= shape[inner];
        }
        var row = first / stride;
        if (first % stride != 0)
        {
            var rowEnd = Math.Min(end, (row + 1) * stride);
            prefix[dim] = row;
            AddFlatRange(shape, dim + 1, prefix, first - (row * stride), rowEnd - (row * stride), boxes);
            first = rowEnd;
            row++;
        }
        var wholeRows = (end - first) / stride;
        if (wholeRows > 0)
        {
            boxes.Add(Under(shape, dim, prefix, row, wholeRows));
            first += wholeRows * stride;
            row += wholeRows;
        }
        if (first < end)
        {
            prefix[dim] = row;
            AddFlatRange(shape, dim + 1, prefix, 0, end - first, boxes);
        }
    }

    private static TensorBox Under(TensorShape shape, int dim, long[] prefix, long row, long rows)
    {
        var start = new long[shape.Count];
        var lengths = new long[shape.Count];
        for (var i = 0; i < shape.Count; i++)
        {
            start[i] = i < dim ? prefix[i] : i == dim ? row : 0;
            lengths[i] = i < dim ? 1 : i == dim ? rows : shape[i];
        }
        return new TensorBox(TensorShape.Create(start), TensorShape.Create(lengths));
    }
}
