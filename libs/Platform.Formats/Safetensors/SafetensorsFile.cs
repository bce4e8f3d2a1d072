using System.IO.MemoryMappedFiles;
using System.Security.Cryptography;

namespace Platform.Formats.Safetensors;

/// <summary>
/// A safetensors file opened for reading: its header checked, its bytes mapped into memory. Tensors are views of the
/// mapping and must not be used after <see cref="Dispose"/>. Any number of threads may read at once. The file must
/// not be shortened while it is open: the operating system ends a process that touches a mapped page beyond the end.
/// </summary>
public sealed unsafe class SafetensorsFile : IDisposable
{
    private const int HashBlockBytes = 1 << 30;

    private readonly MemoryMappedFile _mapping;
    private readonly MemoryMappedViewAccessor _view;
    private readonly Dictionary<string, TensorEntry> _byName;
    private byte* _start;

    private SafetensorsFile(string path, long length, MemoryMappedFile mapping, MemoryMappedViewAccessor view)
    {
        Path = path;
        Length = length;
        _mapping = mapping;
        _view = view;
        byte* start = null;
        view.SafeMemoryMappedViewHandle.AcquirePointer(ref start);
        _start = start + view.PointerOffset;
        try
        {
            var headerLength = SafetensorsHeader.ReadLength(path, new ReadOnlySpan<byte>(_start, (int)Math.Min(8, length)), length);
            var header = SafetensorsHeader.Parse(path, new ReadOnlySpan<byte>(_start + 8, (int)headerLength), length);
            Tensors = header.Tensors;
            Metadata = header.Metadata;
            _byName = header.Tensors.ToDictionary(tensor => tensor.Name, StringComparer.Ordinal);
        }
        catch
        {
            view.SafeMemoryMappedViewHandle.ReleasePointer();
            throw;
        }
    }

    /// <summary>Path it was opened by.</summary>
    public string Path { get; }

    /// <summary>Size of the file in bytes.</summary>
    public long Length { get; }

    /// <summary>All tensors, in the order of their bytes.</summary>
    public IReadOnlyList<TensorEntry> Tensors { get; }

    /// <summary>The header's <c>__metadata__</c>; empty when it has none.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>Opens a file and checks its header completely.</summary>
    /// <exception cref="ModelFormatException">The file is not a valid safetensors file.</exception>
    /// <exception cref="IOException">It cannot be opened or read.</exception>
    public static SafetensorsFile Open(string path)
    {
        var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete, 1);
        try
        {
            var length = stream.Length;
            if (length < 8)
            {
                throw new ModelFormatException(path, "", $"the file has {length} bytes; a safetensors file starts with an 8-byte header length");
            }
            var mapping = MemoryMappedFile.CreateFromFile(stream, null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: false);
            try
            {
                var view = mapping.CreateViewAccessor(0, length, MemoryMappedFileAccess.Read);
                try
                {
                    return new SafetensorsFile(path, length, mapping, view);
                }
                catch
                {
                    view.Dispose();
                    throw;
                }
            }
            catch
            {
                mapping.Dispose();
                throw;
            }
        }
        catch
        {
            stream.Dispose();
            throw;
        }
    }

    /// <summary>Whether there is a tensor of this name.</summary>
    public bool Contains(string name) => _byName.ContainsKey(name);

    /// <summary>The entry of a tensor.</summary>
    /// <exception cref="ModelFormatException">There is none of this name.</exception>
    public TensorEntry Entry(string name) => _byName.TryGetValue(name, out var entry)
        ? entry
        : throw new ModelFormatException(Path, name, $"there is no such tensor among the file's {Tensors.Count}");

    /// <summary>A tensor's bytes without a copy.</summary>
    /// <exception cref="ModelFormatException">There is none of this name.</exception>
    /// <exception cref="InvalidOperationException">It is larger than a span can be; use <see cref="Pointer"/>.</exception>
    public ReadOnlySpan<byte> Span(string name)
    {
        var entry = Entry(name);
        return entry.ByteLength <= int.MaxValue
            ? new ReadOnlySpan<byte>(Address(entry), (int)entry.ByteLength)
            : throw new InvalidOperationException($"{Path}: {name} has {entry.ByteLength} bytes, more than a span can hold; read it by pointer.");
    }

    /// <summary>A tensor's bytes without a copy and without a limit of size.</summary>
    /// <param name="name">Name of the tensor.</param>
    /// <param name="byteLength">Number of bytes at the returned address.</param>
    /// <returns>An address that stays valid until <see cref="Dispose"/>; aligned only as the file's header is.</returns>
    /// <exception cref="ModelFormatException">There is none of this name.</exception>
    public byte* Pointer(string name, out long byteLength)
    {
        var entry = Entry(name);
        byteLength = entry.ByteLength;
        return Address(entry);
    }

    /// <summary>SHA-256 of a tensor's bytes, in lower-case hexadecimal.</summary>
    /// <exception cref="ModelFormatException">There is none of this name.</exception>
    public string Sha256(string name)
    {
        var entry = Entry(name);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var address = Address(entry);
        for (long done = 0; done < entry.ByteLength;)
        {
            var count = (int)Math.Min(HashBlockBytes, entry.ByteLength - done);
            hash.AppendData(new ReadOnlySpan<byte>(address + done, count));
            done += count;
        }
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    /// <summary>Unmaps the file; every view of it becomes invalid.</summary>
    public void Dispose()
    {
        if (_start is null)
        {
            return;
        }
        _start = null;
        _view.SafeMemoryMappedViewHandle.ReleasePointer();
        _view.Dispose();
        _mapping.Dispose();
    }

    private byte* Address(TensorEntry entry)
    {
        ObjectDisposedException.ThrowIf(_start is null, this);
        return _start + entry.FileOffset;
    }
}
