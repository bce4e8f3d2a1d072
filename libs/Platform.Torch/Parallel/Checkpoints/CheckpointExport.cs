using Platform.Formats.Checkpoints;
using Platform.Formats.HuggingFace;
using Platform.Formats.Safetensors;
using Platform.Torch.Models.Llama;
using TorchSharp;

namespace Platform.Torch.Parallel.Checkpoints;

/// <summary>Makes a Hugging Face model directory of a training checkpoint.</summary>
public static class CheckpointExport
{
    internal const long BlockElements = 16 << 20;

    /// <summary>Writes weights, <c>generation_config.json</c> and, last, <c>config.json</c>; tokenizer files are the caller's.</summary>
    /// <param name="reader">The checkpoint.</param>
    /// <param name="config">Shape of its model, and type of the exported weights, to which masters are rounded.</param>
    /// <param name="generation">Defaults for generation.</param>
    /// <param name="directory">The directory; it is created where it does not exist.</param>
    /// <exception cref="Formats.ModelFormatException">A weight is missing.</exception>
    /// <exception cref="IOException">Writing failed.</exception>
    public static void Write(CheckpointReader reader, HuggingFaceConfig config, GenerationConfig generation, string directory)
    {
        ArgumentNullException.ThrowIfNull(reader);
        ArgumentNullException.ThrowIfNull(config);
        using var export = HuggingFaceExport.Create(directory, config, generation);
        var type = (config.DataType ?? throw new ArgumentException("The type of the exported weights is missing.", nameof(config))).ToScalarType();
        foreach (var parameter in LlamaParameters.All(config.Model))
        {
            var saved = reader.Tensor(parameter.Name);
            var rowElements = parameter.ElementCount / parameter.Shape[0];
            var rowsPerBlock = Math.Max(1, BlockElements / rowElements);
            for (long row = 0; row < parameter.Shape[0]; row += rowsPerBlock)
            {
                using var scope = torch.NewDisposeScope();
                var rows = Math.Min(rowsPerBlock, parameter.Shape[0] - row);
                var exact = TensorMemory.Empty([.. parameter.Shape.SetItem(0, rows)], saved.DataType.ToScalarType());
                var box = TensorBox.Slice(TensorShape.Create([.. parameter.Shape]), 0, row, rows);
                ReadInto(reader, parameter.Name, box, TensorMemory.DataPointer(exact), TensorMemory.ByteLength(exact));
                export.Write(parameter.Name, TensorMemory.Bytes(exact.to_type(type)));
            }
        }

        export.Commit();
    }

    internal static unsafe void ReadInto(CheckpointReader reader, string name, TensorBox box, nint address, long length) =>
        reader.ReadSlice(name, box, (byte*)address, length);
}
