using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Json;
using Platform.Core.Models;

namespace Platform.Serving.Tests;

/// <summary>
/// Random low-rank adapters in memory and, on request, as a directory in PEFT's layout, written by hand. It shares no code with
/// the platform's own writers.
/// </summary>
internal sealed class TinyAdapter
{
    public static readonly string[] All = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

    public TinyAdapter(ModelConfig config, int seed, int rank = 4, double alpha = 8, params string[] targets)
    {
        (Config, Rank, Alpha) = (config, rank, alpha);
        Targets = targets.Length == 0 ? All : targets;
        var random = new Random(seed);
        int e = config.HiddenSize, f = config.IntermediateSize, q = config.NumAttentionHeads * config.HeadDim, kv = config.NumKeyValueHeads * config.HeadDim;
        for (var layer = 0; layer < config.NumHiddenLayers; layer++)
        {
            foreach (var target in All.Where(Targets.Contains))
            {
                var (module, outputs, inputs) = target switch
                {
                    "q_proj" => ("self_attn", q, e),
                    "k_proj" or "v_proj" => ("self_attn", kv, e),
                    "o_proj" => ("self_attn", e, q),
                    "down_proj" => ("mlp", e, f),
                    _ => ("mlp", f, e),
                };
                var name = $"model.layers.{layer}.{module}.{target}";
                Add($"base_model.model.{name}.lora_A.weight", rank, inputs);
                Add($"base_model.model.{name}.lora_B.weight", outputs, rank);
            }
        }

        void Add(string name, params int[] shape)
        {
            var values = new float[shape[0] * shape[1]];
            for (var i = 0; i < values.Length; i++)
                values[i] = (float)((random.NextDouble() - 0.5) * 1.5 / Math.Sqrt(shape[1]));
            Tensors.Add((name, shape, values));
        }
    }

    public ModelConfig Config { get; }

    public int Rank { get; }

    public double Alpha { get; }

    public string[] Targets { get; }

    public List<(string Name, int[] Shape, float[] Values)> Tensors { get; } = [];

    /// <summary>The base model with <c>W + α/r·B·A</c> in place of each adapted projection.</summary>
    public TinyModel MergedInto(TinyModel model)
    {
        foreach (var (name, shape, a) in Tensors.Where(tensor => tensor.Name.EndsWith("lora_A.weight", StringComparison.Ordinal)))
        {
            var b = Tensors.Single(tensor => tensor.Name == name.Replace("lora_A", "lora_B", StringComparison.Ordinal));
            var weight = model.ByName[name["base_model.model.".Length..].Replace(".lora_A", "", StringComparison.Ordinal)];
            var inputs = shape[1];
            for (var o = 0; o < b.Shape[0]; o++)
            {
                for (var i = 0; i < inputs; i++)
                {
                    var sum = 0.0;
                    for (var r = 0; r < Rank; r++)
                        sum += (double)b.Values[(o * Rank) + r] * a[(r * inputs) + i];
                    weight[(o * inputs) + i] = (float)(weight[(o * inputs) + i] + (Alpha / Rank * sum));
                }
            }
        }

        return model;
    }

    public Dictionary<string, object?> Describe() => new()
    {
        ["peft_type"] = "LORA",
        ["task_type"] = "CAUSAL_LM",
        ["base_model_name_or_path"] = "somewhere/tiny",
        ["r"] = Rank,
        ["lora_alpha"] = Alpha,
        ["target_modules"] = Targets,
        ["bias"] = "none",
        ["fan_in_fan_out"] = false,
        ["use_rslora"] = false,
        ["use_dora"] = false,
        ["modules_to_save"] = null,
        ["rank_pattern"] = new Dictionary<string, int>(),
    };

    public string Write(string directory, Dictionary<string, object?>? config = null)
    {
        Directory.CreateDirectory(directory);
        File.WriteAllText(Path.Combine(directory, "adapter_config.json"), JsonSerializer.Serialize(config ?? Describe()));
        var header = new Dictionary<string, object>();
        var offset = 0;
        foreach (var (name, shape, values) in Tensors)
        {
            header.Add(name, new { dtype = "F32", shape, data_offsets = new[] { offset, offset + (values.Length * 4) } });
            offset += values.Length * 4;
        }

        var json = JsonSerializer.SerializeToUtf8Bytes(header);
        var length = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, json.Length);
        using var stream = File.Create(Path.Combine(directory, "adapter_model.safetensors"));
        stream.Write(length);
        stream.Write(json);
        foreach (var (_, _, values) in Tensors)
            stream.Write(MemoryMarshal.AsBytes<float>(values));
        return directory;
    }
}
