using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text.Json;
using Platform.Formats.Storage;

namespace Platform.Formats.Safetensors;

/// <summary>A tensor that a <see cref="SafetensorsWriter"/> is going to be given.</summary>
/// <param name="Name">Its name.</param>
/// <param name="DataType">Element type.</param>
/// <param name="Shape">Sizes of its dims, row-major.</param>
public sealed record TensorDeclaration(string Name, TensorDataType DataType, TensorShape Shape);

/// <summary>
/// Writes a safetensors file: the tensors are declared first, then their bytes are written in any order and in parts
/// of any size. The file appears under its name when committed, complete and on disk, or not at all. Tensors lie in
/// descending element size, then by name, so that each is aligned to its element. Not for use by several threads.
/// </summary>
public sealed class SafetensorsWriter : IDisposable
{
    private readonly DurableFile _file;
    private readonly Dictionary<string, Progress> _progress = new(StringComparer.Ordinal);

    private SafetensorsWriter(DurableFile file, IReadOnlyList<TensorEntry> tensors, long length, bool hashTensors)
    {
        _file = file;
        Tensors = tensors;
        Length = length;
        foreach (var tensor in tensors)
        {
            _progress.Add(tensor.Name, new Progress(tensor, hashTensors ? IncrementalHash.CreateHash(HashAlgorithmName.SHA256) : null));
        }
    }

    /// <summary>The tensors in the order of their bytes.</summary>
    public IReadOnlyList<TensorEntry> Tensors { get; }

    /// <summary>Size of the file in bytes.</summary>
    public long Length { get; }

    /// <summary>Starts a file.</summary>
    /// <param name="path">Path it gets when committed; the directory must exist.</param>
    /// <param name="tensors">All tensors it will hold.</param>
    /// <param name="metadata">Pairs for the header's <c>__metadata__</c>.</param>
    /// <param name="hashTensors">Whether to compute each tensor's SHA-256 while it is written.</param>
    /// <exception cref="ArgumentException">A name is declared twice, or is <c>__metadata__</c>; or the header is too long.</exception>
    /// <exception cref="IOException">The file cannot be created or the disk is full.</exception>
    public static SafetensorsWriter Create(
        string path,
        IEnumerable<TensorDeclaration> tensors,
        IReadOnlyDictionary<string, string>? metadata = null,
        bool hashTensors = false)
    {
        var ordered = tensors.OrderByDescending(tensor => tensor.DataType.SizeInBytes()).ThenBy(tensor => tensor.Name, StringComparer.Ordinal).ToList();
        var header = Header(ordered, metadata);
        if (header.Length - 8 > SafetensorsHeader.MaxHeaderBytes)
        {
            throw new ArgumentException($"The header would take {header.Length - 8} bytes; at most {SafetensorsHeader.MaxHeaderBytes} are allowed.", nameof(tensors));
        }
        var entries = new List<TensorEntry>(ordered.Count);
        long position = header.Length;
        foreach (var tensor in ordered)
        {
            var length = tensor.Shape.ByteLength(tensor.DataType);
            entries.Add(new TensorEntry(tensor.Name, tensor.DataType, tensor.Shape, position, length));
            position = checked(position + length);
        }
        var file = DurableFile.Create(path, position);
        try
        {
            RandomAccess.Write(file.Handle, header, 0);
            return new SafetensorsWriter(file, entries, position, hashTensors);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Appends bytes to a tensor.</summary>
    /// <param name="name">A declared tensor.</param>
    /// <param name="bytes">The next of its bytes, row-major, little-endian.</param>
    /// <exception cref="ArgumentException">No such tensor was declared, or these are more bytes than it has.</exception>
    /// <exception cref="IOException">Writing failed.</exception>
    public void Write(string name, ReadOnlySpan<byte> bytes)
    {
        if (!_progress.TryGetValue(name, out var progress))
        {
            throw new ArgumentException($"The tensor '{name}' was not declared.", nameof(name));
        }
        if (bytes.Length > progress.Entry.ByteLength - progress.Written)
        {
            throw new ArgumentException($"The tensor '{name}' has {progress.Entry.ByteLength} bytes; {progress.Written} are written and {bytes.Length} more were given.", nameof(bytes));
        }
        RandomAccess.Write(_file.Handle, bytes, progress.Entry.FileOffset + progress.Written);
        progress.Hash?.AppendData(bytes);
        progress.Written += bytes.Length;
    }

    /// <summary>Puts the finished file under its name.</summary>
    /// <returns>SHA-256 of each tensor's bytes in lower-case hexadecimal, if asked for at the start; else empty.</returns>
    /// <exception cref="InvalidOperationException">A tensor has not been written completely.</exception>
    /// <exception cref="IOException">Writing failed.</exception>
    public IReadOnlyDictionary<string, string> Commit()
    {
        var unfinished = _progress.Values.FirstOrDefault(progress => progress.Written != progress.Entry.ByteLength);
        if (unfinished is not null)
        {
            throw new InvalidOperationException($"The tensor '{unfinished.Entry.Name}' has {unfinished.Entry.ByteLength} bytes, but only {unfinished.Written} were written.");
        }
        var hashes = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var (name, progress) in _progress)
        {
            if (progress.Hash is not null)
            {
                hashes.Add(name, Convert.ToHexStringLower(progress.Hash.GetHashAndReset()));
            }
        }
        _file.Commit();
        return hashes;
    }

    /// <summary>Ends writing; a file that was not committed is deleted.</summary>
    public void Dispose()
    {
        foreach (var progress in _progress.Values)
        {
            progress.Hash?.Dispose();
        }
        _file.Dispose();
    }

    /// <summary>Length and JSON, padded with spaces to a multiple of eight bytes.</summary>
    private static byte[] Header(List<TensorDeclaration> tensors, IReadOnlyDictionary<string, string>? metadata)
    {
        using var buffer = new MemoryStream();
        buffer.Write(stackalloc byte[8]);
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            if (metadata is { Count: > 0 })
            {
                json.WriteStartObject("__metadata__");
                foreach (var (key, value) in metadata.OrderBy(pair => pair.Key, StringComparer.Ordinal))
                {
                    json.WriteString(key, value);
                }
                json.WriteEndObject();
            }
            WriteTensors(json, tensors);
            json.WriteEndObject();
        }
        while (buffer.Length % 8 != 0)
        {
            buffer.WriteByte((byte)' ');
        }
        var header = buffer.ToArray();
        BinaryPrimitives.WriteUInt64LittleEndian(header, (ulong)(header.Length - 8));
        return header;
    }

    private static void WriteTensors(Utf8JsonWriter json, List<TensorDeclaration> tensors)
    {
        var names = new HashSet<string>(StringComparer.Ordinal) { "__metadata__" };
        long position = 0;
        foreach (var tensor in tensors)
        {
            if (!names.Add(tensor.Name))
            {
                throw new ArgumentException($"The tensor name '{tensor.Name}' is declared twice or reserved.", nameof(tensors));
            }
            var end = checked(position + tensor.Shape.ByteLength(tensor.DataType));
            json.WriteStartObject(tensor.Name);
            json.WriteString("dtype", tensor.DataType.NameOf());
            json.WriteStartArray("shape");
            foreach (var dim in tensor.Shape)
            {
                json.WriteNumberValue(dim);
            }
            json.WriteEndArray();
            json.WriteStartArray("data_offsets");
            json.WriteNumberValue(position);
            json.WriteNumberValue(end);
            json.WriteEndArray();
            json.WriteEndObject();
            position = end;
        }
    }

    private sealed class Progress(TensorEntry entry, IncrementalHash? hash)
    {
        internal TensorEntry Entry { get; } = entry;

        internal IncrementalHash? Hash { get; } = hash;

        internal long Written { get; set; }
    }
}
