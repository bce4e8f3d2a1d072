using System.Text.Json;
using Platform.Formats.Safetensors;
using Platform.Formats.Storage;

namespace Platform.Formats.Checkpoints;

/// <summary>A part of a global tensor that a rank is going to write.</summary>
/// <param name="Tensor">Name of the global tensor.</param>
/// <param name="DataType">Its element type.</param>
/// <param name="TensorShape">Its shape.</param>
/// <param name="Box">The part.</param>
public sealed record CheckpointPart(string Tensor, TensorDataType DataType, TensorShape TensorShape, TensorBox Box)
{
    /// <summary>All of a tensor.</summary>
    public static CheckpointPart Whole(string tensor, TensorDataType dataType, TensorShape shape) => new(tensor, dataType, shape, TensorBox.Whole(shape));
}

/// <summary>What one rank wrote: its file, and the parts of global tensors in it.</summary>
/// <param name="File">The file.</param>
/// <param name="Tensors">Global tensors by name, each with the pieces that lie in this file.</param>
public sealed record CheckpointShard(CheckpointShardFile File, IReadOnlyDictionary<string, CheckpointTensor> Tensors)
{
    /// <summary>The shard as bytes, to be sent to the rank that writes the manifest.</summary>
    public byte[] ToUtf8() => CheckpointManifest.Serialize(this);

    /// <summary>Reads what <see cref="ToUtf8"/> wrote.</summary>
    /// <exception cref="FormatException">The bytes are not a shard.</exception>
    public static CheckpointShard Parse(ReadOnlySpan<byte> utf8)
    {
        try
        {
            return CheckpointManifest.Deserialize<CheckpointShard>(utf8) ?? throw new FormatException("A checkpoint shard is expected; found null.");
        }
        catch (JsonException e)
        {
            throw new FormatException($"A checkpoint shard is expected: {e.Message}", e);
        }
    }
}

/// <summary>
/// Writes the shard of one rank: its parts of global tensors, into one safetensors file that appears complete or not
/// at all. Not for use by several threads at once.
/// </summary>
public sealed class CheckpointShardWriter : IDisposable
{
    private readonly string _path;
    private readonly SafetensorsWriter _writer;
    private readonly IReadOnlyList<CheckpointPart> _parts;
    private readonly string[] _names;

    private CheckpointShardWriter(string path, SafetensorsWriter writer, IReadOnlyList<CheckpointPart> parts, string[] names)
    {
        _path = path;
        _writer = writer;
        _parts = parts;
        _names = names;
    }

    /// <summary>The file name of a rank's shard.</summary>
    public static string FileNameOf(int rank) => $"rank-{rank:D5}.safetensors";

    /// <summary>Starts the shard of a rank.</summary>
    /// <param name="directory">The checkpoint's directory; it must exist.</param>
    /// <param name="rank">The rank; it gives the file its name.</param>
    /// <param name="parts">What the rank will write.</param>
    /// <exception cref="ArgumentException">A part lies outside its tensor.</exception>
    /// <exception cref="IOException">The file cannot be created or the disk is full.</exception>
    public static CheckpointShardWriter Create(string directory, int rank, IReadOnlyList<CheckpointPart> parts)
    {
        var names = new string[parts.Count];
        var used = new Dictionary<string, int>(StringComparer.Ordinal);
        for (var i = 0; i < parts.Count; i++)
        {
            var part = parts[i];
            if (!part.Box.Fits(part.TensorShape))
            {
                throw new ArgumentException($"The part of '{part.Tensor}' at {part.Box.Start} of shape {part.Box.Shape} lies outside the tensor's shape {part.TensorShape}.", nameof(parts));
            }
            var count = used.GetValueOrDefault(part.Tensor);
            used[part.Tensor] = count + 1;
            // '#' does not occur in parameter names, so that further parts never meet another tensor.
            names[i] = count == 0 ? part.Tensor : $"{part.Tensor}#{count}";
        }
        var path = Path.Combine(directory, FileNameOf(rank));
        var declarations = parts.Select((part, i) => new TensorDeclaration(names[i], part.DataType, part.Box.Shape));
        return new CheckpointShardWriter(path, SafetensorsWriter.Create(path, declarations), parts, names);
    }

    /// <summary>Appends bytes to a part.</summary>
    /// <param name="part">Index of the part in the list given at the start.</param>
    /// <param name="bytes">The next of its bytes, row-major within the part.</param>
    /// <exception cref="ArgumentException">These are more bytes than the part has.</exception>
    /// <exception cref="IOException">Writing failed.</exception>
    public void Write(int part, ReadOnlySpan<byte> bytes) => _writer.Write(_names[part], bytes);

    /// <summary>Finishes the shard.</summary>
    /// <returns>What was written, for <see cref="CheckpointManifest.Merge"/>.</returns>
    /// <exception cref="InvalidOperationException">A part has not been written completely.</exception>
    /// <exception cref="IOException">Writing failed.</exception>
    public CheckpointShard Commit()
    {
        _writer.Commit();
        var file = new CheckpointShardFile(Path.GetFileName(_path), _writer.Length, FileHash.Sha256(_path));
        var tensors = new SortedDictionary<string, CheckpointTensor>(StringComparer.Ordinal);
        for (var i = 0; i < _parts.Count; i++)
        {
            var part = _parts[i];
            var piece = new CheckpointPiece(file.File, _names[i], part.Box.Start, part.Box.Shape);
            tensors[part.Tensor] = tensors.TryGetValue(part.Tensor, out var known)
                ? known with { Pieces = [.. known.Pieces, piece] }
                : new CheckpointTensor(part.TensorShape, part.DataType, [piece]);
        }
        return new CheckpointShard(file, tensors);
    }

    /// <summary>Ends writing; a shard that was not committed is deleted.</summary>
    public void Dispose() => _writer.Dispose();
}
