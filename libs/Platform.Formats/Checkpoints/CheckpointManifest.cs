using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using Platform.Formats.Safetensors;
using Platform.Formats.Storage;

namespace Platform.Formats.Checkpoints;

/// <summary>A part of a global tensor, and where its bytes are.</summary>
/// <param name="Shard">File name of the shard.</param>
/// <param name="Name">Name of the tensor in the shard.</param>
/// <param name="Start">Index of its first element in the global tensor, per dim.</param>
/// <param name="Shape">Its shape.</param>
public sealed record CheckpointPiece(string Shard, string Name, TensorShape Start, TensorShape Shape)
{
    /// <summary>The part of the global tensor.</summary>
    [JsonIgnore]
    public TensorBox Box => new(Start, Shape);
}

/// <summary>A tensor as the model knows it, whatever the layout of the ranks that wrote it.</summary>
/// <param name="Shape">Its shape.</param>
/// <param name="DataType">Its element type.</param>
/// <param name="Pieces">Its parts: together the whole tensor, no element twice.</param>
/// <param name="Sha256">SHA-256 of its row-major bytes, in lower-case hexadecimal, where the writer computed it.</param>
public sealed record CheckpointTensor(TensorShape Shape, [property: JsonPropertyName("dtype")] TensorDataType DataType, IReadOnlyList<CheckpointPiece> Pieces, string? Sha256 = null);

/// <summary>A file of a checkpoint.</summary>
/// <param name="File">Its plain name in the checkpoint's directory.</param>
/// <param name="SizeBytes">Its size.</param>
/// <param name="Sha256">SHA-256 of the whole file, in lower-case hexadecimal.</param>
public sealed record CheckpointShardFile(string File, long SizeBytes, string Sha256);

/// <summary>What the trainer knows at a checkpoint besides tensors.</summary>
public sealed record CheckpointHeader
{
    /// <summary>Resource name or id of the job.</summary>
    public required string Job { get; init; }

    /// <summary>Attempt of the gang that wrote it.</summary>
    public required int Attempt { get; init; }

    /// <summary>Optimizer steps taken.</summary>
    public required long Step { get; init; }

    /// <summary>Seed that initial weights, data order and dropout follow from.</summary>
    public required long Seed { get; init; }

    /// <summary>Sequences of the data consumed so far; the next step starts with the one after.</summary>
    public required long DataPosition { get; init; }

    /// <summary>The model's configuration.</summary>
    public required JsonObject Model { get; init; }

    /// <summary>Anything else that is needed to go on; keys and values are the trainer's.</summary>
    public JsonObject State { get; init; } = [];
}

/// <summary>
/// The list of contents of a checkpoint, written last: global tensors and the pieces they lie in. Any layout can read
/// what any other wrote.
/// </summary>
public sealed record CheckpointManifest
{
    /// <summary>Name of the file in a checkpoint's directory.</summary>
    public const string FileName = "checkpoint.json";

    /// <summary>The version this code writes and reads.</summary>
    public const int CurrentVersion = 1;

    private const long MaxBytes = 1L << 30;

    private static readonly JsonSerializerOptions Options = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
        RespectNullableAnnotations = true,
        RespectRequiredConstructorParameters = true,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        WriteIndented = true,
        NewLine = "\n",
        Converters = { new TensorShapeJsonConverter(), new TensorDataTypeJsonConverter() },
    };

    /// <summary>Version of the format.</summary>
    public required int Version { get; init; }

    /// <summary>What the trainer knows besides tensors.</summary>
    public required CheckpointHeader Header { get; init; }

    /// <summary>The files.</summary>
    public required IReadOnlyList<CheckpointShardFile> Shards { get; init; }

    /// <summary>The tensors by name.</summary>
    public required IReadOnlyDictionary<string, CheckpointTensor> Tensors { get; init; }

    /// <summary>Puts together what all ranks wrote.</summary>
    /// <param name="header">What the trainer knows besides tensors.</param>
    /// <param name="shards">One entry per shard, in any order.</param>
    /// <exception cref="ArgumentException">
    /// The shards do not make whole tensors: a gap, an element twice, or two ranks that differ about a shape. The
    /// message lists every tensor at fault.
    /// </exception>
    public static CheckpointManifest Merge(CheckpointHeader header, IEnumerable<CheckpointShard> shards)
    {
        var files = new List<CheckpointShardFile>();
        var tensors = new SortedDictionary<string, CheckpointTensor>(StringComparer.Ordinal);
        var problems = new List<string>();
        foreach (var shard in shards.OrderBy(shard => shard.File.File, StringComparer.Ordinal))
        {
            files.Add(shard.File);
            foreach (var (name, part) in shard.Tensors)
            {
                if (!tensors.TryGetValue(name, out var known))
                {
                    tensors.Add(name, part);
                }
                else if (known.DataType != part.DataType || !known.Shape.Equals(part.Shape))
                {
                    problems.Add($"{name}: {shard.File.File} says {part.DataType.NameOf()} {part.Shape}, another shard {known.DataType.NameOf()} {known.Shape}");
                }
                else
                {
                    tensors[name] = known with { Pieces = [.. known.Pieces, .. part.Pieces] };
                }
            }
        }
        problems.AddRange(files.GroupBy(file => file.File, StringComparer.Ordinal).Where(group => group.Count() > 1).Select(group => $"{group.Key}: the shard is listed twice"));
        problems.AddRange(tensors.Select(tensor => PieceCoverage.Problem(tensor.Key, tensor.Value)).OfType<string>());
        return problems.Count == 0
            ? new CheckpointManifest { Version = CurrentVersion, Header = header, Shards = files, Tensors = tensors }
            : throw new ArgumentException("The shards do not make a checkpoint: " + string.Join("; ", problems), nameof(shards));
    }

    /// <summary>Reads the manifest of a checkpoint and checks that it is consistent in itself.</summary>
    /// <param name="directory">The checkpoint's directory.</param>
    /// <exception cref="ModelFormatException">It is damaged, of another version or inconsistent.</exception>
    /// <exception cref="IOException">It cannot be read; a checkpoint without a manifest was never finished.</exception>
    public static CheckpointManifest Read(string directory)
    {
        var path = Path.Combine(directory, FileName);
        using var document = JsonFile.Read(path, MaxBytes);
        if (!document.RootElement.TryGetProperty("version", out var version) || version.ValueKind != JsonValueKind.Number || !version.TryGetInt32(out var number) || number != CurrentVersion)
        {
            throw new ModelFormatException(path, "version", $"found {(version.ValueKind == JsonValueKind.Undefined ? "none" : version.GetRawText())}; version {CurrentVersion} is supported");
        }
        CheckpointManifest manifest;
        try
        {
            manifest = document.RootElement.Deserialize<CheckpointManifest>(Options) ?? throw new ModelFormatException(path, "", "found null");
        }
        catch (Exception e) when (e is JsonException or ArgumentException or InvalidOperationException)
        {
            throw new ModelFormatException(path, "", $"not a checkpoint manifest: {e.Message}", e);
        }
        Check(path, manifest);
        return manifest;
    }

    /// <summary>Writes the manifest durably: with it, and not before, the checkpoint is complete on disk.</summary>
    /// <param name="directory">The checkpoint's directory, where the shards are.</param>
    /// <returns>SHA-256 of the manifest file in lower-case hexadecimal, for the commit.</returns>
    /// <exception cref="IOException">It cannot be written.</exception>
    public string Write(string directory)
    {
        var bytes = JsonSerializer.SerializeToUtf8Bytes(this, Options);
        DurableFile.WriteAllBytes(Path.Combine(directory, FileName), bytes);
        return Convert.ToHexStringLower(SHA256.HashData(bytes));
    }

    /// <summary>SHA-256 of a checkpoint's manifest file in lower-case hexadecimal.</summary>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static string HashOf(string directory)
    {
        using var stream = File.OpenRead(Path.Combine(directory, FileName));
        return Convert.ToHexStringLower(SHA256.HashData(stream));
    }

    internal static byte[] Serialize<T>(T value) => JsonSerializer.SerializeToUtf8Bytes(value, Options);

    internal static T? Deserialize<T>(ReadOnlySpan<byte> json) => JsonSerializer.Deserialize<T>(json, Options);

    private static void Check(string path, CheckpointManifest manifest)
    {
        var files = new HashSet<string>(StringComparer.Ordinal);
        foreach (var shard in manifest.Shards)
        {
            // The serializer checks the annotations of properties, not of a list's items.
            if (shard is null)
            {
                throw new ModelFormatException(path, "shards", "found null");
            }
            DirectoryContainment.RequirePlainName(path, "shards", shard.File);
            if (!files.Add(shard.File))
            {
                throw new ModelFormatException(path, "shards", $"'{shard.File}' is listed twice");
            }
        }
        foreach (var (name, tensor) in manifest.Tensors)
        {
            if (tensor?.Pieces.Any(piece => piece is null) is not false)
            {
                throw new ModelFormatException(path, name, "found null");
            }
            if (tensor.Pieces.FirstOrDefault(piece => !files.Contains(piece.Shard)) is { } stray)
            {
                throw new ModelFormatException(path, name, $"a piece is in '{stray.Shard}', which is not among the shards");
            }
            if (PieceCoverage.Problem(name, tensor) is { } problem)
            {
                throw new ModelFormatException(path, name, problem);
            }
        }
    }
}
