using System.Collections;
using System.Collections.Immutable;
using System.Globalization;
using System.Runtime.CompilerServices;

namespace Platform.Formats.Safetensors;

/// <summary>Sizes of a tensor's dims, row-major, compared by value. A scalar has none.</summary>
[CollectionBuilder(typeof(TensorShape), nameof(Create))]
public sealed class TensorShape : IReadOnlyList<long>, IEquatable<TensorShape>
{
    private readonly ImmutableArray<long> _dims;

    private TensorShape(ImmutableArray<long> dims)
    {
        foreach (var dim in dims)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(dim);
        }
        _dims = dims;
    }

    /// <summary>The shape of a scalar.</summary>
    public static TensorShape Scalar { get; } = new([]);

    /// <summary>Number of dims.</summary>
    public int Count => _dims.Length;

    /// <summary>The sizes.</summary>
    public ReadOnlySpan<long> Dims => _dims.AsSpan();

    /// <summary>Size of one dim.</summary>
    public long this[int dim] => _dims[dim];

    /// <summary>A shape of these sizes.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A size is negative.</exception>
    public static TensorShape Create(params ReadOnlySpan<long> dims) => new([.. dims]);

    /// <summary>Number of elements.</summary>
    /// <exception cref="OverflowException">More than a signed 64-bit integer counts.</exception>
    public long ElementCount()
    {
        if (_dims.Contains(0))
        {
            return 0;
        }
        long count = 1;
        foreach (var dim in _dims)
        {
            count = checked(count * dim);
        }
        return count;
    }

    /// <summary>Number of bytes of a dense tensor of this shape.</summary>
    /// <exception cref="OverflowException">More than a signed 64-bit integer counts.</exception>
    public long ByteLength(TensorDataType type) => checked(ElementCount() * type.SizeInBytes());

    /// <inheritdoc/>
    public bool Equals(TensorShape? other) => other is not null && _dims.AsSpan().SequenceEqual(other._dims.AsSpan());

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as TensorShape);

    /// <inheritdoc/>
    public override int GetHashCode()
    {
        var hash = new HashCode();
        foreach (var dim in _dims)
        {
            hash.Add(dim);
        }
        return hash.ToHashCode();
    }

    /// <inheritdoc/>
    public IEnumerator<long> GetEnumerator() => ((IEnumerable<long>)_dims).GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    /// <summary><c>[2, 3]</c>.</summary>
    public override string ToString() =>
        "[" + string.Join(", ", _dims.Select(dim => dim.ToString(CultureInfo.InvariantCulture))) + "]";
}
