using Platform.Formats.Safetensors;

namespace Platform.Formats.HuggingFace;

/// <summary>
/// Writes a model as a Hugging Face directory: weights in one safetensors file or several with an index,
/// <c>generation_config.json</c> and, last, <c>config.json</c>. Weights are given in any order and in parts of any
/// size. Tokenizer files are the caller's. Not for use by several threads at once.
/// </summary>
public sealed class HuggingFaceExport : IDisposable
{
    /// <summary>Most bytes of weights per file, unless one weight alone has more.</summary>
    public const long DefaultMaxShardBytes = 5_000_000_000;

    private readonly string _directory;
    private readonly HuggingFaceConfig _config;
    private readonly GenerationConfig _generation;
    private readonly List<(string File, SafetensorsWriter Writer)> _writers = [];
    private readonly Dictionary<string, int> _writerOf = new(StringComparer.Ordinal);

    private HuggingFaceExport(string directory, HuggingFaceConfig config, GenerationConfig generation)
    {
        _directory = directory;
        _config = config;
        _generation = generation;
    }

    /// <summary>Starts an export.</summary>
    /// <param name="directory">The directory; it is created where it does not exist.</param>
    /// <param name="config">The model's configuration, with the element type of its weights.</param>
    /// <param name="generation">Defaults for generation.</param>
    /// <param name="maxShardBytes">Most bytes of weights per file.</param>
    /// <exception cref="ArgumentException">The configuration does not say the element type.</exception>
    /// <exception cref="IOException">A file cannot be created or the disk is full.</exception>
    public static HuggingFaceExport Create(string directory, HuggingFaceConfig config, GenerationConfig generation, long maxShardBytes = DefaultMaxShardBytes)
    {
        var type = config.DataType ?? throw new ArgumentException("The configuration does not say the element type of the weights.", nameof(config));
        Directory.CreateDirectory(directory);
        var shards = Distribute(config, type, maxShardBytes);
        var export = new HuggingFaceExport(directory, config, generation);
        try
        {
            for (var i = 0; i < shards.Count; i++)
            {
                var file = shards.Count == 1 ? HuggingFaceModelDirectory.SingleFileName : $"model-{i + 1:D5}-of-{shards.Count:D5}.safetensors";
                export._writers.Add((file, SafetensorsWriter.Create(Path.Combine(directory, file), shards[i], new Dictionary<string, string> { ["format"] = "pt" })));
                foreach (var tensor in shards[i])
                {
                    export._writerOf.Add(tensor.Name, i);
                }
            }
            return export;
        }
        catch
        {
            export.Dispose();
            throw;
        }
    }

    /// <summary>Appends bytes to a weight.</summary>
    /// <param name="name">One of <see cref="ModelTensors.Of"/>.</param>
    /// <param name="bytes">The next of its bytes, row-major, little-endian.</param>
    /// <exception cref="ArgumentException">The model has no such weight, or these are more bytes than it has.</exception>
    /// <exception cref="IOException">Writing failed.</exception>
    public void Write(string name, ReadOnlySpan<byte> bytes)
    {
        if (!_writerOf.TryGetValue(name, out var writer))
        {
            throw new ArgumentException($"The model has no weight '{name}'.", nameof(name));
        }
        _writers[writer].Writer.Write(name, bytes);
    }

    /// <summary>Finishes the export; the directory is a model once <c>config.json</c> is there, which comes last.</summary>
    /// <exception cref="InvalidOperationException">A weight has not been written completely.</exception>
    /// <exception cref="IOException">Writing failed.</exception>
    public void Commit()
    {
        foreach (var (_, writer) in _writers)
        {
            writer.Commit();
        }
        if (_writers.Count > 1)
        {
            var total = _writers.Sum(entry => entry.Writer.Tensors.Sum(tensor => tensor.ByteLength));
            new SafetensorsIndex(total, _writerOf.ToDictionary(entry => entry.Key, entry => _writers[entry.Value].File, StringComparer.Ordinal))
                .Write(Path.Combine(_directory, SafetensorsIndex.FileName));
        }
        _generation.Write(Path.Combine(_directory, GenerationConfig.FileName));
        _config.Write(Path.Combine(_directory, HuggingFaceConfig.FileName));
    }

    /// <summary>Ends the export; files that were not committed are deleted.</summary>
    public void Dispose()
    {
        foreach (var (_, writer) in _writers)
        {
            writer.Dispose();
        }
    }

    private static List<List<TensorDeclaration>> Distribute(HuggingFaceConfig config, TensorDataType type, long maxShardBytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(maxShardBytes);
        var shards = new List<List<TensorDeclaration>>();
        long used = 0;
        foreach (var tensor in ModelTensors.Of(config.Model))
        {
            var bytes = tensor.Shape.ByteLength(type);
            if (shards.Count == 0 || used + bytes > maxShardBytes)
            {
                shards.Add([]);
                used = 0;
            }
            shards[^1].Add(new TensorDeclaration(tensor.Name, type, tensor.Shape));
            used += bytes;
        }
        return shards;
    }
}
