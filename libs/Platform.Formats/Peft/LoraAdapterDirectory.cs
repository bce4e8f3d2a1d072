using Platform.Core.Jobs;
using Platform.Core.Models;
using Platform.Core.Validation;
using Platform.Formats.HuggingFace;
using Platform.Formats.Safetensors;
using Platform.Formats.Storage;

namespace Platform.Formats.Peft;

/// <summary>
/// A low-rank adapter (Hu et al. 2021) in the layout of PEFT's <c>save_pretrained</c>, opened for reading: of an adapted
/// projection <c>W</c> the factors <c>A</c> [r, inputs] and <c>B</c> [outputs, r], which stand for <c>W + s·B·A</c>.
/// </summary>
public sealed unsafe class LoraAdapterDirectory : IDisposable
{
    /// <summary>File of the factors.</summary>
    public const string WeightsFileName = "adapter_model.safetensors";

    /// <summary>Folder in the directory of a model that was merged with an adapter, in which the adapter lies.</summary>
    public const string FolderInModel = "adapter";

    private const string Prefix = "base_model.model.";
    private const string WeightSuffix = ".weight";
    private const string SuffixOfA = ".lora_A.weight";
    private const string SuffixOfB = ".lora_B.weight";

    private static readonly HashSet<TensorDataType> Types = [TensorDataType.F64, TensorDataType.F32, TensorDataType.F16, TensorDataType.BF16];

    private readonly SafetensorsFile _file;

    private LoraAdapterDirectory(string directory, LoraConfig config, SafetensorsFile file)
    {
        Path = directory;
        Config = config;
        _file = file;
    }

    /// <summary>The directory.</summary>
    public string Path { get; }

    /// <summary>Path of the file of the factors.</summary>
    public string WeightsPath => _file.Path;

    /// <summary>Its configuration.</summary>
    public LoraConfig Config { get; }

    /// <summary>Rank of the factors.</summary>
    public int Rank => Config.Rank;

    /// <summary>s.</summary>
    public double Scale => Config.Scale;

    /// <summary>Numbers in all factors.</summary>
    public long ParameterCount => _file.Tensors.Sum(tensor => tensor.Shape.ElementCount());

    /// <summary>Whether a directory is, or has in it, an adapter.</summary>
    /// <param name="directory">An adapter's directory, or that of a model that was exported with one.</param>
    /// <returns>The adapter's own directory; null when there is none.</returns>
    public static string? Find(string directory)
    {
        ArgumentNullException.ThrowIfNull(directory);
        string[] places = [directory, System.IO.Path.Combine(directory, FolderInModel)];
        return places.FirstOrDefault(place => File.Exists(System.IO.Path.Combine(place, LoraConfig.FileName)));
    }

    /// <summary>Opens an adapter and checks each file by itself; see <see cref="Validate"/> for whether it fits a model.</summary>
    /// <exception cref="ModelFormatException">A file is missing, damaged or of a kind that is not supported.</exception>
    /// <exception cref="IOException">A file cannot be read.</exception>
    public static LoraAdapterDirectory Open(string directory)
    {
        ArgumentNullException.ThrowIfNull(directory);
        if (!File.Exists(System.IO.Path.Combine(directory, LoraConfig.FileName)))
            throw new ModelFormatException(directory, "", $"there is no {LoraConfig.FileName}; an adapter as PEFT stores it is expected");
        var config = LoraConfig.Read(DirectoryContainment.Resolve(directory, LoraConfig.FileName, directory, LoraConfig.FileName));
        if (!File.Exists(System.IO.Path.Combine(directory, WeightsFileName)))
        {
            var pickled = File.Exists(System.IO.Path.Combine(directory, "adapter_model.bin"));
            throw new ModelFormatException(directory, "", $"there is no {WeightsFileName}{(pickled ? "; 'adapter_model.bin' can run code when it is read and is not supported: save the adapter as safetensors" : "")}");
        }

        return new LoraAdapterDirectory(
            directory, config, SafetensorsFile.Open(DirectoryContainment.Resolve(directory, WeightsFileName, directory, WeightsFileName)));
    }

    /// <summary>Name of the first factor of a weight.</summary>
    /// <param name="weight">Name of a projection's weight in the model's files.</param>
    public static string NameOfA(string weight) => Stem(weight) + SuffixOfA;

    /// <summary>Name of the second factor of a weight.</summary>
    /// <param name="weight">Name of a projection's weight in the model's files.</param>
    public static string NameOfB(string weight) => Stem(weight) + SuffixOfB;

    /// <summary>Whether a weight is adapted.</summary>
    /// <param name="weight">Name of a projection's weight in the model's files.</param>
    public bool Adapts(string weight) => _file.Contains(NameOfA(weight));

    /// <summary>Shape and type of a factor.</summary>
    /// <exception cref="ModelFormatException">There is none of this name.</exception>
    public TensorEntry Entry(string factor) => _file.Entry(factor);

    /// <summary>A factor's bytes without a copy; valid until <see cref="Dispose"/>.</summary>
    /// <exception cref="ModelFormatException">There is none of this name.</exception>
    public byte* Pointer(string factor) => _file.Pointer(factor, out _);

    /// <summary>Everything that keeps the adapter from being used with a model; empty when nothing does.</summary>
    /// <param name="model">Shape of the base model.</param>
    /// <param name="highestRank">Highest rank that is allowed.</param>
    public IReadOnlyList<Violation> Validate(ModelConfig model, int highestRank)
    {
        ArgumentNullException.ThrowIfNull(model);
        var violations = new List<Violation>();
        if (Rank > highestRank)
            violations.Add(new Violation("r", $"the adapter's rank is {Rank}; at most {highestRank} is allowed here."));
        var expected = new Dictionary<string, TensorShape>(StringComparer.Ordinal);
        foreach (var tensor in ModelTensors.Of(model).Where(tensor => IsProjection(tensor.Name)))
        {
            expected.Add(NameOfA(tensor.Name), [Rank, tensor.Shape[1]]);
            expected.Add(NameOfB(tensor.Name), [tensor.Shape[0], Rank]);
        }

        foreach (var tensor in _file.Tensors)
            Check(tensor, expected, model, violations);
        foreach (var name in expected.Keys.Where(IsMissing))
            violations.Add(new Violation(name, "the factor is missing."));
        if (_file.Tensors.Count == 0)
            violations.Add(new Violation("", $"{WeightsFileName} holds no factors."));
        return violations;

        // One factor is useless without the other, and a named projection is adapted in every layer unless the file says otherwise.
        bool IsMissing(string name)
        {
            if (_file.Contains(name))
                return false;
            var twin = name.EndsWith(SuffixOfA, StringComparison.Ordinal)
                ? name[..^SuffixOfA.Length] + SuffixOfB
                : name[..^SuffixOfB.Length] + SuffixOfA;
            return _file.Contains(twin) || (Config is { AdaptsSomeLayers: false, TargetModules: { } targets } && targets.Contains(ModuleOf(name)));
        }
    }

    /// <summary>Closes the file; every view of it becomes invalid.</summary>
    public void Dispose() => _file.Dispose();

    private void Check(TensorEntry tensor, Dictionary<string, TensorShape> expected, ModelConfig model, List<Violation> violations)
    {
        if (!expected.TryGetValue(tensor.Name, out var shape))
        {
            violations.Add(new Violation(tensor.Name, $"the base model ({model.NumHiddenLayers} layers) has no projection with such a factor; "
                + $"{string.Join(", ", LoraSpec.Projections)} can be adapted."));
        }
        else if (Config.TargetModules is { } targets && !targets.Contains(ModuleOf(tensor.Name)))
        {
            violations.Add(new Violation(tensor.Name, $"{LoraConfig.FileName} does not name {ModuleOf(tensor.Name)} among its target_modules."));
        }
        else if (!tensor.Shape.Equals(shape))
        {
            violations.Add(new Violation(tensor.Name, $"found shape {tensor.Shape}; with rank {Rank} on this base model {shape} is expected"
                + (Config.BaseModel is { Length: > 0 } other ? $" (the adapter was made for '{other}')." : ".")));
        }
        else if (!Types.Contains(tensor.DataType))
        {
            violations.Add(new Violation(tensor.Name, $"found {tensor.DataType.NameOf()}; supported are {string.Join(", ", Types)}."));
        }
    }

    private static string Stem(string weight) => weight.EndsWith(WeightSuffix, StringComparison.Ordinal)
        ? Prefix + weight[..^WeightSuffix.Length]
        : throw new ArgumentException($"{weight} is not a weight.", nameof(weight));

    private static bool IsProjection(string weight) =>
        weight.EndsWith(WeightSuffix, StringComparison.Ordinal) && LoraSpec.Projections.Contains(weight[..^WeightSuffix.Length].Split('.')[^1]);

    private static string ModuleOf(string factor) => factor.Split('.') is { Length: > 3 } parts ? parts[^3] : factor;
}
