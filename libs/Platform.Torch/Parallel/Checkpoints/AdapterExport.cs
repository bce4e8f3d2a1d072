using System.Text.Json;
using System.Text.Json.Nodes;
using Platform.Core.Models;
using Platform.Formats.Checkpoints;
using Platform.Formats.HuggingFace;
using Platform.Formats.Safetensors;
using Platform.Formats.Storage;
using Platform.Torch.Models.Llama;
using TorchSharp;
using ScalarType = TorchSharp.torch.ScalarType;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Parallel.Checkpoints;

/// <summary>Makes what others load of a checkpoint of adapters: the adapter as PEFT stores it, and the base merged with it.</summary>
public static class AdapterExport
{
    /// <summary>File of an adapter's tensors.</summary>
    public const string WeightsFileName = "adapter_model.safetensors";

    /// <summary>File of an adapter's configuration.</summary>
    public const string ConfigFileName = "adapter_config.json";

    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };

    /// <summary>Writes the two files of an adapter as PEFT's <c>save_pretrained</c> does, in single precision.</summary>
    /// <param name="reader">The checkpoint.</param>
    /// <param name="adapters">The adapters.</param>
    /// <param name="config">Shape of the base model.</param>
    /// <param name="baseModel">What the configuration names as the base model.</param>
    /// <param name="directory">The directory; it is created where it does not exist.</param>
    /// <exception cref="Formats.ModelFormatException">A factor is missing.</exception>
    /// <exception cref="IOException">Writing failed.</exception>
    public static void WriteAdapter(CheckpointReader reader, LowRankAdapters adapters, ModelConfig config, string baseModel, string directory)
    {
        ArgumentNullException.ThrowIfNull(reader);
        ArgumentNullException.ThrowIfNull(adapters);
        Directory.CreateDirectory(directory);
        var factors = adapters.FactorsOf(config).ToList();
        using (var writer = SafetensorsWriter.Create(
            Path.Combine(directory, WeightsFileName),
            factors.Select(factor => new TensorDeclaration(factor.Name, TensorDataType.F32, TensorShape.Create([.. factor.Shape]))),
            new Dictionary<string, string> { ["format"] = "pt" }))
        {
            foreach (var factor in factors)
            {
                using var scope = torch.NewDisposeScope();
                TensorMemory.WriteTo(Read(reader, factor).to_type(ScalarType.Float32), writer, factor.Name);
            }

            writer.Commit();
        }

        DurableFile.WriteAllBytes(Path.Combine(directory, ConfigFileName), JsonSerializer.SerializeToUtf8Bytes(Describe(adapters, baseModel), Indented));
    }

    /// <summary>
    /// Writes the base model with each adapted projection replaced by <c>W + s·B·A</c>, formed in at least single precision and
    /// rounded to the type of <paramref name="config"/>; all other weights as they are.
    /// </summary>
    /// <param name="reader">The checkpoint.</param>
    /// <param name="files">Weights of the base model.</param>
    /// <param name="adapters">The adapters.</param>
    /// <param name="config">The base model's configuration, with the type of the exported weights.</param>
    /// <param name="generation">Defaults for generation.</param>
    /// <param name="directory">The directory; it is created where it does not exist.</param>
    /// <exception cref="Formats.ModelFormatException">A factor or a weight is missing.</exception>
    /// <exception cref="IOException">Writing failed.</exception>
    public static void WriteMerged(
        CheckpointReader reader, LlamaWeightFiles files, LowRankAdapters adapters, HuggingFaceConfig config, GenerationConfig generation, string directory)
    {
        ArgumentNullException.ThrowIfNull(reader);
        ArgumentNullException.ThrowIfNull(files);
        ArgumentNullException.ThrowIfNull(adapters);
        ArgumentNullException.ThrowIfNull(config);
        var type = (config.DataType ?? throw new ArgumentException("The type of the exported weights is missing.", nameof(config))).ToScalarType();
        using var export = HuggingFaceExport.Create(directory, config, generation);
        foreach (var parameter in LlamaParameters.All(config.Model))
        {
            using var scope = torch.NewDisposeScope();
            var (a, b) = adapters.Targets.Contains(parameter.Role) ? FactorsOf(parameter) : (null, null);
            var rowsPerBlock = Math.Max(1, CheckpointExport.BlockElements / (parameter.ElementCount / parameter.Shape[0]));
            for (long row = 0; row < parameter.Shape[0]; row += rowsPerBlock)
            {
                using var block = torch.NewDisposeScope();
                var rows = Math.Min(rowsPerBlock, parameter.Shape[0] - row);
                var slice = new TensorSlice(0, row, rows, rows);
                var merged = a is null || b is null
                    ? files.Read(parameter, slice, type)
                    : files.Read(parameter, slice, a.dtype).AddInPlace(b.narrow(0, row, rows).mm(a).MultiplyInPlace(adapters.Scale)).to_type(type);
                export.Write(parameter.Name, TensorMemory.Bytes(merged));
            }
        }

        export.Commit();

        (Tensor A, Tensor B) FactorsOf(LlamaParameter projection)
        {
            var (first, second) = adapters.FactorsOf(projection);
            return (Read(reader, first), Read(reader, second));
        }
    }

    private static Tensor Read(CheckpointReader reader, LlamaParameter factor)
    {
        var saved = reader.Tensor(factor.Name);
        var tensor = TensorMemory.Empty([.. factor.Shape], saved.DataType.ToScalarType());
        CheckpointExport.ReadInto(
            reader, factor.Name, TensorBox.Slice(TensorShape.Create([.. factor.Shape]), 0, 0, factor.Shape[0]), TensorMemory.DataPointer(tensor),
            TensorMemory.ByteLength(tensor));
        return tensor;
    }

    private static JsonObject Describe(LowRankAdapters adapters, string baseModel) => new()
    {
        ["alpha_pattern"] = new JsonObject(),
        ["auto_mapping"] = null,
        ["base_model_name_or_path"] = baseModel,
        ["bias"] = "none",
        ["fan_in_fan_out"] = false,
        ["inference_mode"] = true,
        ["init_lora_weights"] = true,
        ["layers_pattern"] = null,
        ["layers_to_transform"] = null,
        ["lora_alpha"] = adapters.Alpha,
        ["lora_dropout"] = 0.0,
        ["modules_to_save"] = null,
        ["peft_type"] = "LORA",
        ["r"] = adapters.Rank,
        ["rank_pattern"] = new JsonObject(),
        ["revision"] = null,
        ["target_modules"] = new JsonArray([.. adapters.TargetNames.Select(name => JsonValue.Create(name))]),
        ["task_type"] = "CAUSAL_LM",
        ["use_dora"] = false,
        ["use_rslora"] = false,
    };
}
