using Platform.Core.Validation;
using Platform.Formats.Safetensors;
using Platform.Formats.Storage;

namespace Platform.Formats.HuggingFace;

/// <summary>
/// A Hugging Face model directory opened for reading: configuration, weights over one or several safetensors files,
/// and which tokenizer files there are. Any number of threads may read at once.
/// </summary>
public sealed unsafe class HuggingFaceModelDirectory : IDisposable
{
    /// <summary>The weights' file name in a directory that is not sharded.</summary>
    public const string SingleFileName = "model.safetensors";

    private static readonly HashSet<TensorDataType> WeightTypes = [TensorDataType.F64, TensorDataType.F32, TensorDataType.F16, TensorDataType.BF16];

    private readonly List<SafetensorsFile> _files = [];
    private readonly Dictionary<string, SafetensorsFile> _byTensor = new(StringComparer.Ordinal);
    private readonly List<Violation> _fileViolations = [];

    private HuggingFaceModelDirectory(string directory)
    {
        Path = directory;
        Config = HuggingFaceConfig.Read(System.IO.Path.Combine(directory, HuggingFaceConfig.FileName));
        var generation = System.IO.Path.Combine(directory, GenerationConfig.FileName);
        Generation = File.Exists(generation)
            ? GenerationConfig.Read(generation)
            : new GenerationConfig { BosTokenId = Config.Model.BosTokenId, EosTokenIds = Config.Model.EosTokenIds };
    }

    /// <summary>The directory.</summary>
    public string Path { get; }

    /// <summary>Its <c>config.json</c>.</summary>
    public HuggingFaceConfig Config { get; }

    /// <summary>Its <c>generation_config.json</c>; where it has none, the tokens that <c>config.json</c> names.</summary>
    public GenerationConfig Generation { get; }

    /// <summary>Whether there is a <c>tokenizer.json</c>.</summary>
    public bool HasTokenizer => File.Exists(System.IO.Path.Combine(Path, "tokenizer.json"));

    /// <summary>Whether there is a <c>tokenizer_config.json</c>.</summary>
    public bool HasTokenizerConfig => File.Exists(System.IO.Path.Combine(Path, "tokenizer_config.json"));

    /// <summary>Names of all weights in the files.</summary>
    public IReadOnlyCollection<string> TensorNames => _byTensor.Keys;

    /// <summary>Bytes of all weights together.</summary>
    public long TotalBytes => _files.Sum(file => file.Tensors.Sum(tensor => tensor.ByteLength));

    /// <summary>Opens a directory and checks each file by itself; see <see cref="Validate"/> for whether they fit together.</summary>
    /// <exception cref="ModelFormatException">A file is missing, damaged or of a kind that is not supported.</exception>
    /// <exception cref="IOException">A file cannot be read.</exception>
    public static HuggingFaceModelDirectory Open(string directory)
    {
        if (!File.Exists(System.IO.Path.Combine(directory, HuggingFaceConfig.FileName)))
        {
            throw new ModelFormatException(directory, "", $"there is no {HuggingFaceConfig.FileName}; a Hugging Face model directory is expected");
        }
        var opened = new HuggingFaceModelDirectory(directory);
        try
        {
            opened.OpenFiles();
            return opened;
        }
        catch
        {
            opened.Dispose();
            throw;
        }
    }

    /// <summary>Whether there is a weight of this name.</summary>
    public bool Contains(string name) => _byTensor.ContainsKey(name);

    /// <summary>Shape, type and place of a weight.</summary>
    /// <exception cref="ModelFormatException">There is none of this name.</exception>
    public TensorEntry Entry(string name) => FileOf(name).Entry(name);

    /// <summary>A weight's bytes without a copy; see <see cref="SafetensorsFile.Span"/>.</summary>
    /// <exception cref="ModelFormatException">There is none of this name.</exception>
    /// <exception cref="InvalidOperationException">It is larger than a span can be.</exception>
    public ReadOnlySpan<byte> Span(string name) => FileOf(name).Span(name);

    /// <summary>A weight's bytes without a copy and without a limit of size; see <see cref="SafetensorsFile.Pointer"/>.</summary>
    /// <exception cref="ModelFormatException">There is none of this name.</exception>
    public byte* Pointer(string name, out long byteLength) => FileOf(name).Pointer(name, out byteLength);

    /// <summary>Everything in which files and configuration do not fit together; empty when the model can be loaded.</summary>
    public IReadOnlyList<Violation> Validate()
    {
        var violations = new List<Violation>(_fileViolations);
        var expected = ModelTensors.Of(Config.Model).ToDictionary(tensor => tensor.Name, StringComparer.Ordinal);
        foreach (var tensor in expected.Values)
        {
            if (!Contains(tensor.Name))
            {
                violations.Add(new Violation(tensor.Name, $"the weight is missing; the configuration asks for one of shape {tensor.Shape}."));
            }
            else if (Entry(tensor.Name) is var entry && !entry.Shape.Equals(tensor.Shape))
            {
                violations.Add(new Violation(tensor.Name, $"found shape {entry.Shape}; the configuration asks for {tensor.Shape}."));
            }
            else if (!WeightTypes.Contains(entry.DataType))
            {
                violations.Add(new Violation(tensor.Name, $"found {entry.DataType.NameOf()}; supported are {string.Join(", ", WeightTypes)}."));
            }
        }
        foreach (var name in _byTensor.Keys.Where(name => !expected.ContainsKey(name) && !IsHarmless(name)).Order(StringComparer.Ordinal))
        {
            violations.Add(new Violation(name, $"the files hold a weight {Entry(name).Shape} that the configuration does not have."));
        }
        if (!HasTokenizer)
        {
            violations.Add(new Violation("tokenizer.json", "the file is missing."));
        }
        return violations;
    }

    /// <summary>Closes the files; every view of them becomes invalid.</summary>
    public void Dispose()
    {
        foreach (var file in _files)
        {
            file.Dispose();
        }
    }

    /// <summary>Old exports hold the rotary frequencies, which follow from the configuration, and a copy of a tied head.</summary>
    private bool IsHarmless(string name) =>
        name.EndsWith(".rotary_emb.inv_freq", StringComparison.Ordinal) || (name == ModelTensors.HeadName && Config.Model.TieWordEmbeddings);

    private SafetensorsFile FileOf(string name) => _byTensor.TryGetValue(name, out var file)
        ? file
        : throw new ModelFormatException(Path, name, "there is no such weight");

    private void OpenFiles()
    {
        var indexPath = System.IO.Path.Combine(Path, SafetensorsIndex.FileName);
        if (File.Exists(indexPath))
        {
            OpenSharded(indexPath);
            return;
        }
        if (!File.Exists(System.IO.Path.Combine(Path, SingleFileName)))
        {
            var pickled = Directory.EnumerateFiles(Path, "*.bin").Select(System.IO.Path.GetFileName).FirstOrDefault();
            throw new ModelFormatException(Path, "", $"there is neither {SingleFileName} nor {SafetensorsIndex.FileName}{(pickled is null ? "" : $"; '{pickled}' can run code when it is read and is not supported: save the model as safetensors")}");
        }
        var file = SafetensorsFile.Open(DirectoryContainment.Resolve(Path, SingleFileName, Path, SingleFileName));
        _files.Add(file);
        foreach (var tensor in file.Tensors)
        {
            _byTensor.Add(tensor.Name, file);
        }
    }

    private void OpenSharded(string indexPath)
    {
        var index = SafetensorsIndex.Read(indexPath);
        foreach (var group in index.WeightMap.GroupBy(entry => entry.Value, StringComparer.Ordinal))
        {
            var file = SafetensorsFile.Open(DirectoryContainment.Resolve(indexPath, "weight_map", Path, group.Key));
            _files.Add(file);
            var mapped = group.Select(entry => entry.Key).ToHashSet(StringComparer.Ordinal);
            foreach (var name in mapped)
            {
                if (file.Contains(name))
                {
                    _byTensor.Add(name, file);
                }
                else
                {
                    _fileViolations.Add(new Violation(name, $"the index says '{group.Key}', which does not hold it."));
                }
            }
            _fileViolations.AddRange(file.Tensors.Where(tensor => !mapped.Contains(tensor.Name)).Select(tensor =>
                new Violation(tensor.Name, $"'{group.Key}' holds it, but the index {(index.WeightMap.TryGetValue(tensor.Name, out var other) ? $"says '{other}'" : "does not name it")}.")));
        }
    }
}
