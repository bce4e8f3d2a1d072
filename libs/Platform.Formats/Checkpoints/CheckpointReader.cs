using System.Security.Cryptography;
using Platform.Formats.Safetensors;
using Platform.Formats.Storage;

namespace Platform.Formats.Checkpoints;

/// <summary>How closely a checkpoint is looked at when it is opened.</summary>
public enum CheckpointVerification
{
    /// <summary>Sizes of files, their headers, and that the pieces make whole tensors: finds truncation, reads no tensor.</summary>
    Structure,

    /// <summary>Also the SHA-256 of every file: finds any change, reads everything once.</summary>
    Hashes,
}

/// <summary>
/// A checkpoint opened for reading, by any layout: a slice of a global tensor is gathered from the pieces it lies in.
/// Any number of threads may read at once.
/// </summary>
public sealed unsafe class CheckpointReader : IDisposable
{
    private readonly string _directory;
    private readonly Dictionary<string, SafetensorsFile> _shards = new(StringComparer.Ordinal);

    private CheckpointReader(string directory, CheckpointManifest manifest)
    {
        _directory = directory;
        Manifest = manifest;
    }

    /// <summary>The manifest.</summary>
    public CheckpointManifest Manifest { get; }

    /// <summary>Opens a checkpoint.</summary>
    /// <param name="directory">Its directory.</param>
    /// <param name="verification">How closely to look at it.</param>
    /// <exception cref="ModelFormatException">It is damaged; the message names the file, the tensor and the difference.</exception>
    /// <exception cref="IOException">A file cannot be read; without a manifest it was never finished.</exception>
    public static CheckpointReader Open(string directory, CheckpointVerification verification)
    {
        var reader = new CheckpointReader(directory, CheckpointManifest.Read(directory));
        try
        {
            foreach (var shard in reader.Manifest.Shards)
            {
                reader.OpenShard(shard, verification);
            }
            reader.CheckPieces();
            return reader;
        }
        catch
        {
            reader.Dispose();
            throw;
        }
    }

    /// <summary>The shape and pieces of a tensor.</summary>
    /// <exception cref="ModelFormatException">There is none of this name.</exception>
    public CheckpointTensor Tensor(string name) => Manifest.Tensors.TryGetValue(name, out var tensor)
        ? tensor
        : throw new ModelFormatException(ManifestPath, name, "there is no such tensor");

    /// <summary>Reads a part of a tensor.</summary>
    /// <param name="name">Name of the tensor.</param>
    /// <param name="starts">First index per dim.</param>
    /// <param name="lengths">Number of indices per dim.</param>
    /// <param name="destination">Gets the part's elements row-major; exactly as long as they are.</param>
    /// <exception cref="ModelFormatException">There is no such tensor.</exception>
    /// <exception cref="ArgumentException">The part lies outside the tensor, or the destination has another length.</exception>
    public void ReadSlice(string name, ReadOnlySpan<long> starts, ReadOnlySpan<long> lengths, Span<byte> destination)
    {
        fixed (byte* start = destination)
        {
            ReadSlice(name, new TensorBox(TensorShape.Create(starts), TensorShape.Create(lengths)), start, destination.Length);
        }
    }

    /// <summary>Reads a part of a tensor of any size.</summary>
    /// <param name="name">Name of the tensor.</param>
    /// <param name="box">The part.</param>
    /// <param name="destination">Gets the part's elements row-major.</param>
    /// <param name="byteLength">Bytes at <paramref name="destination"/>; exactly as many as the part has.</param>
    /// <exception cref="ModelFormatException">There is no such tensor.</exception>
    /// <exception cref="ArgumentException">The part lies outside the tensor, or the destination has another length.</exception>
    public void ReadSlice(string name, TensorBox box, byte* destination, long byteLength)
    {
        var tensor = Tensor(name);
        if (!box.Fits(tensor.Shape))
        {
            throw new ArgumentException($"The part of '{name}' at {box.Start} of shape {box.Shape} lies outside the tensor's shape {tensor.Shape}.", nameof(box));
        }
        var expected = box.Shape.ByteLength(tensor.DataType);
        if (byteLength != expected)
        {
            throw new ArgumentException($"The part of '{name}' of shape {box.Shape} takes {expected} bytes; the destination has {byteLength}.", nameof(byteLength));
        }
        if (expected == 0)
        {
            return;
        }
        foreach (var piece in tensor.Pieces)
        {
            BoxCopy.Copy(_shards[piece.Shard].Pointer(piece.Name, out _), piece.Box, destination, box, tensor.DataType.SizeInBytes());
        }
    }

    /// <summary>
    /// SHA-256 of a tensor's row-major bytes in lower-case hexadecimal: equal for equal tensors, whatever layout
    /// wrote them.
    /// </summary>
    /// <exception cref="ModelFormatException">There is no such tensor.</exception>
    public string Sha256(string name)
    {
        var tensor = Tensor(name);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var rows = tensor.Shape.Count == 0 ? 1 : tensor.Shape[0];
        var rowBytes = rows == 0 ? 0 : tensor.Shape.ByteLength(tensor.DataType) / rows;
        if (rowBytes == 0)
        {
            return Convert.ToHexStringLower(hash.GetHashAndReset());
        }
        var rowsAtOnce = Math.Clamp((16L << 20) / rowBytes, 1, rows);
        var buffer = new byte[checked(rowsAtOnce * rowBytes)];
        for (long row = 0; row < rows; row += rowsAtOnce)
        {
            var count = Math.Min(rowsAtOnce, rows - row);
            var box = tensor.Shape.Count == 0 ? TensorBox.Whole(tensor.Shape) : TensorBox.Slice(tensor.Shape, 0, row, count);
            fixed (byte* start = buffer)
            {
                ReadSlice(name, box, start, count * rowBytes);
            }
            hash.AppendData(buffer.AsSpan(0, (int)(count * rowBytes)));
        }
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    /// <summary>Compares the SHA-256 of a shard with the manifest's, so that several processes can share the work.</summary>
    /// <param name="shard">One of the manifest's shards.</param>
    /// <exception cref="ModelFormatException">The file is damaged.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    public void VerifyShard(CheckpointShardFile shard)
    {
        var path = Path.Combine(_directory, shard.File);
        if (FileHash.Sha256(path) is var found && found != shard.Sha256)
        {
            throw new ModelFormatException(path, "", $"its SHA-256 is {found}, the manifest says {shard.Sha256}: the file is damaged");
        }
    }

    /// <summary>Closes the files.</summary>
    public void Dispose()
    {
        foreach (var shard in _shards.Values)
        {
            shard.Dispose();
        }
    }

    private string ManifestPath => Path.Combine(_directory, CheckpointManifest.FileName);

    private void OpenShard(CheckpointShardFile shard, CheckpointVerification verification)
    {
        var path = DirectoryContainment.Resolve(ManifestPath, "shards", _directory, shard.File);
        var size = new FileInfo(path).Length;
        if (size != shard.SizeBytes)
        {
            throw new ModelFormatException(path, "", $"the file has {size} bytes, the manifest says {shard.SizeBytes}: it is {(size < shard.SizeBytes ? "truncated" : "not the file that was written")}");
        }
        if (verification == CheckpointVerification.Hashes)
        {
            VerifyShard(shard);
        }
        _shards.Add(shard.File, SafetensorsFile.Open(path));
    }

    private void CheckPieces()
    {
        foreach (var (name, tensor) in Manifest.Tensors)
        {
            foreach (var piece in tensor.Pieces)
            {
                var entry = _shards[piece.Shard].Entry(piece.Name);
                if (entry.DataType != tensor.DataType || !entry.Shape.Equals(piece.Shape))
                {
                    throw new ModelFormatException(_shards[piece.Shard].Path, piece.Name, $"found {entry.DataType.NameOf()} {entry.Shape}, the manifest says {tensor.DataType.NameOf()} {piece.Shape} for a piece of '{name}'");
                }
            }
        }
    }
}
