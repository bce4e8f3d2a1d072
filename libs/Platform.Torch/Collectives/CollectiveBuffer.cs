namespace Platform.Torch.Collectives;

/// <summary>
/// A contiguous run of elements that a collective reads or writes. The caller owns the memory and keeps it alive and in
/// place until the operation returns. The loopback, shared-memory and TCP groups move host memory; groups of devices move both.
/// </summary>
/// <param name="Address">Address of the first element; ignored when <paramref name="Count"/> is 0.</param>
/// <param name="Count">Number of elements, not bytes.</param>
/// <param name="Element">Type of the elements.</param>
public readonly record struct CollectiveBuffer(nint Address, long Count, CollectiveElement Element)
{
    /// <summary>Where the address is valid.</summary>
    public MemorySpace Space { get; init; }

    /// <summary>Length in bytes.</summary>
    public long LengthBytes => Count * Element.SizeBytes();

    /// <summary>The part that starts at element <paramref name="start"/> and has <paramref name="count"/> elements.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The part does not lie inside the buffer.</exception>
    public CollectiveBuffer Slice(long start, long count)
    {
        if (start < 0 || count < 0 || start > Count - count)
            throw new ArgumentOutOfRangeException(nameof(start), $"elements {start} to {start + count} of a buffer of {Count}");
        return this with { Address = Address + (nint)(start * Element.SizeBytes()), Count = count };
    }

    internal void Validate(string parameter)
    {
        if (Count < 0)
            throw new ArgumentException($"a buffer cannot have {Count} elements", parameter);
        if (Count > 0 && Address == 0)
            throw new ArgumentException($"a buffer of {Count} elements has no address", parameter);
        _ = Element.SizeBytes();
    }

    internal unsafe void* Pointer => (void*)Address;

    internal unsafe byte* Bytes => (byte*)Address;
}
