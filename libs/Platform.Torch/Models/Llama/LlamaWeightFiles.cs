using Platform.Formats;
using Platform.Formats.Safetensors;
using ScalarType = TorchSharp.torch.ScalarType;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Models.Llama;

/// <summary>
/// The safetensors files of a Hugging Face model directory, opened for reading: <c>model.safetensors</c>, or the shards that
/// <c>model.safetensors.index.json</c> names. Weights are read slice by slice, so a rank touches only the bytes it holds.
/// </summary>
/// <remarks>Files are mapped until <see cref="Dispose"/>; tensors that were read are copies. One thread at a time.</remarks>
public sealed class LlamaWeightFiles : IDisposable
{
    private readonly string _source;
    private readonly Dictionary<string, SafetensorsFile> _fileOf;

    private LlamaWeightFiles(string source, Dictionary<string, SafetensorsFile> fileOf)
    {
        _source = source;
        _fileOf = fileOf;
    }

    /// <summary>Names of all tensors in the files.</summary>
    public IReadOnlyCollection<string> Names => _fileOf.Keys;

    /// <summary>Opens the files of a directory.</summary>
    /// <exception cref="ModelFormatException">A file is damaged, or lacks a tensor that the index says it has.</exception>
    /// <exception cref="IOException">There is no such file, or it cannot be read.</exception>
    public static LlamaWeightFiles Open(string directory)
    {
        ArgumentNullException.ThrowIfNull(directory);
        var indexPath = Path.Combine(directory, SafetensorsIndex.FileName);
        var opened = new Dictionary<string, SafetensorsFile>(StringComparer.Ordinal);
        var fileOf = new Dictionary<string, SafetensorsFile>(StringComparer.Ordinal);
        try
        {
            if (!File.Exists(indexPath))
            {
                var single = Path.Combine(directory, "model.safetensors");
                if (!File.Exists(single))
                    throw new FileNotFoundException($"{directory} holds neither model.safetensors nor {SafetensorsIndex.FileName}.", single);
                var file = opened[single] = SafetensorsFile.Open(single);
                foreach (var tensor in file.Tensors)
                    fileOf.Add(tensor.Name, file);
                return new LlamaWeightFiles(single, fileOf);
            }

            foreach (var (name, fileName) in SafetensorsIndex.Read(indexPath).WeightMap)
            {
                if (!opened.TryGetValue(fileName, out var file))
                    file = opened[fileName] = SafetensorsFile.Open(Path.Combine(directory, fileName));
                if (!file.Contains(name))
                    throw new ModelFormatException(indexPath, name, $"the index says {fileName} has it, but it does not");
                fileOf.Add(name, file);
            }

            return new LlamaWeightFiles(indexPath, fileOf);
        }
        catch
        {
            foreach (var file in opened.Values)
                file.Dispose();
            throw;
        }
    }

    /// <summary>Type of a tensor's elements in the files.</summary>
    /// <exception cref="ModelFormatException">The files lack the tensor.</exception>
    public TensorDataType TypeOf(string name) => _fileOf.TryGetValue(name, out var file)
        ? file.Entry(name).DataType
        : throw new ModelFormatException(_source, name, $"the model needs it, but it is not among the {_fileOf.Count} tensors");

    /// <summary>Reads a slice of a weight and converts it to a type.</summary>
    /// <param name="parameter">The weight.</param>
    /// <param name="slice">Part of it; its padding is zero.</param>
    /// <param name="type">A floating-point type.</param>
    /// <returns>A new contiguous CPU tensor.</returns>
    /// <exception cref="ModelFormatException">The files lack the weight, or have it in another shape or with elements that are no floating-point numbers.</exception>
    public unsafe Tensor Read(LlamaParameter parameter, TensorSlice slice, ScalarType type)
    {
        ArgumentNullException.ThrowIfNull(parameter);
        if (!_fileOf.TryGetValue(parameter.Name, out var file))
            throw new ModelFormatException(_source, parameter.Name, $"the model needs it, but it is not among the {_fileOf.Count} tensors");
        var entry = file.Entry(parameter.Name);
        if (!entry.Shape.Dims.SequenceEqual(parameter.Shape.AsSpan()))
            throw new ModelFormatException(
                file.Path, parameter.Name, $"its shape is {entry.Shape}; the model's configuration gives [{string.Join(", ", parameter.Shape)}]");
        if (entry.DataType is not (TensorDataType.F64 or TensorDataType.F32 or TensorDataType.F16 or TensorDataType.BF16))
            throw new ModelFormatException(file.Path, parameter.Name, $"its elements are {entry.DataType.NameOf()}; F64, F32, F16 or BF16 are expected");

        var bytes = (long)entry.DataType.SizeInBytes();
        var source = file.Pointer(parameter.Name, out _);
        var stored = TorchSharp.torch.zeros(
            parameter.ShapeOf(slice).AsSpan().ToArray(), dtype: entry.DataType.ToScalarType(), device: TorchSharp.torch.CPU);
        var destination = (byte*)TensorMemory.DataPointer(stored);
        foreach (var run in parameter.RunsOf(slice))
        {
            var length = run.Count * bytes;
            Buffer.MemoryCopy(source + (run.GlobalFirst * bytes), destination + (run.LocalFirst * bytes), length, length);
        }

        if (stored.dtype == type)
            return stored;
        using (stored)
            return stored.to(type);
    }

    /// <summary>Unmaps the files.</summary>
    public void Dispose()
    {
        foreach (var file in _fileOf.Values.Distinct())
            file.Dispose();
        _fileOf.Clear();
    }
}
