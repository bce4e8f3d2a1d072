using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Json;
using Platform.Core.Models;

namespace Platform.Serving.Tests;

/// <summary>
/// Random Llama weights in memory and, on request, as a Hugging Face directory written by hand: sharded safetensors, config
/// and a byte-level tokenizer. It shares no code with the platform's own writers.
/// </summary>
internal sealed class TinyModel
{
    public static readonly ModelConfig Shape = new()
    {
        Architecture = "llama",
        VocabSize = 272,
        HiddenSize = 48,
        IntermediateSize = 80,
        NumHiddenLayers = 3,
        NumAttentionHeads = 6,
        NumKeyValueHeads = 2,
        HeadDim = 8,
        MaxPositionEmbeddings = 160,
        RopeTheta = 500,
        EosTokenIds = [257],
    };

    public TinyModel(ModelConfig config, int seed)
    {
        Config = config;
        var random = new Random(seed);
        int e = config.HiddenSize, f = config.IntermediateSize, q = config.NumAttentionHeads * config.HeadDim, kv = config.NumKeyValueHeads * config.HeadDim;
        Add("model.embed_tokens.weight", config.VocabSize, e);
        for (var layer = 0; layer < config.NumHiddenLayers; layer++)
        {
            var prefix = $"model.layers.{layer}.";
            AddNorm(prefix + "input_layernorm.weight", e);
            Add(prefix + "self_attn.q_proj.weight", q, e);
            Add(prefix + "self_attn.k_proj.weight", kv, e);
            Add(prefix + "self_attn.v_proj.weight", kv, e);
            if (config.AttentionBias)
            {
                Add(prefix + "self_attn.q_proj.bias", q);
                Add(prefix + "self_attn.k_proj.bias", kv);
                Add(prefix + "self_attn.v_proj.bias", kv);
            }

            if (config.QkNorm)
            {
                AddNorm(prefix + "self_attn.q_norm.weight", config.HeadDim);
                AddNorm(prefix + "self_attn.k_norm.weight", config.HeadDim);
            }

            Add(prefix + "self_attn.o_proj.weight", e, q);
            AddNorm(prefix + "post_attention_layernorm.weight", e);
            Add(prefix + "mlp.gate_proj.weight", f, e);
            Add(prefix + "mlp.up_proj.weight", f, e);
            Add(prefix + "mlp.down_proj.weight", e, f);
        }

        AddNorm("model.norm.weight", e);
        if (!config.TieWordEmbeddings)
            Add("lm_head.weight", config.VocabSize, e);

        void Add(string name, params int[] shape) => Put(name, shape, () => (float)((random.NextDouble() - 0.5) * 5 / Math.Sqrt(shape[^1])));
        void AddNorm(string name, int size) => Put(name, [size], () => (float)(0.75 + (random.NextDouble() * 0.5)));
        void Put(string name, int[] shape, Func<float> next)
        {
            var values = new float[shape.Aggregate(1, (a, b) => a * b)];
            for (var i = 0; i < values.Length; i++)
                values[i] = next();
            Tensors.Add((name, shape, values));
            ByName.Add(name, values);
        }
    }

    public ModelConfig Config { get; }

    public List<(string Name, int[] Shape, float[] Values)> Tensors { get; } = [];

    public Dictionary<string, float[]> ByName { get; } = [];

    public void Write(string directory, int shards = 3)
    {
        var map = new Dictionary<string, string>();
        for (var shard = 0; shard < shards; shard++)
        {
            var file = $"model-{shard + 1:D5}-of-{shards:D5}.safetensors";
            var part = Tensors.Where((_, index) => index % shards == shard).ToList();
            part.ForEach(tensor => map.Add(tensor.Name, file));
            WriteShard(Path.Combine(directory, file), part);
        }

        File.WriteAllText(Path.Combine(directory, "model.safetensors.index.json"), JsonSerializer.Serialize(new
        {
            metadata = new { total_size = Tensors.Sum(t => t.Values.Length * 4) },
            weight_map = map,
        }));
        var config = new Dictionary<string, object>
        {
            ["architectures"] = new[] { "LlamaForCausalLM" },
            ["model_type"] = "llama",
            ["vocab_size"] = Config.VocabSize,
            ["hidden_size"] = Config.HiddenSize,
            ["intermediate_size"] = Config.IntermediateSize,
            ["num_hidden_layers"] = Config.NumHiddenLayers,
            ["num_attention_heads"] = Config.NumAttentionHeads,
            ["num_key_value_heads"] = Config.NumKeyValueHeads,
            ["head_dim"] = Config.HeadDim,
            ["max_position_embeddings"] = Config.MaxPositionEmbeddings,
            ["rms_norm_eps"] = Config.RmsNormEps,
            ["rope_theta"] = Config.RopeTheta,
            ["tie_word_embeddings"] = Config.TieWordEmbeddings,
            ["hidden_act"] = "silu",
            ["torch_dtype"] = "float32",
            ["eos_token_id"] = Config.EosTokenIds,
        };
        File.WriteAllText(Path.Combine(directory, "config.json"), JsonSerializer.Serialize(config));
        File.WriteAllText(Path.Combine(directory, "tokenizer.json"), ByteTokenizer());
        File.WriteAllText(Path.Combine(directory, "tokenizer_config.json"), """{"eos_token":"<|end|>","tokenizer_class":"PreTrainedTokenizerFast"}""");
    }

    private static void WriteShard(string path, List<(string Name, int[] Shape, float[] Values)> tensors)
    {
        var header = new Dictionary<string, object>();
        var offset = 0;
        foreach (var (name, shape, values) in tensors)
        {
            header.Add(name, new { dtype = "F32", shape, data_offsets = new[] { offset, offset + (values.Length * 4) } });
            offset += values.Length * 4;
        }

        var json = JsonSerializer.SerializeToUtf8Bytes(header);
        var length = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, json.Length);
        using var stream = File.Create(path);
        stream.Write(length);
        stream.Write(json);
        foreach (var (_, _, values) in tensors)
            stream.Write(MemoryMarshal.AsBytes<float>(values));
    }

    /// <summary>Token b is byte b (GPT-2's alphabet), 256 is "the", made by merges, and 257 ends a text.</summary>
    private static string ByteTokenizer()
    {
        var alphabet = new string[256];
        var next = 256;
        for (var b = 0; b < 256; b++)
        {
            var printable = b is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or (>= 0xAE and <= 0xFF);
            alphabet[b] = ((char)(printable ? b : next++)).ToString();
        }

        var vocabulary = new Dictionary<string, int>();
        for (var b = 0; b < 256; b++)
            vocabulary.Add(alphabet[b], b);
        vocabulary.Add("th", 256);
        return JsonSerializer.Serialize(new
        {
            version = "1.0",
            truncation = (object?)null,
            padding = (object?)null,
            added_tokens = new[] { new { id = 257, content = "<|end|>", single_word = false, lstrip = false, rstrip = false, normalized = false, special = true } },
            normalizer = (object?)null,
            pre_tokenizer = new { type = "ByteLevel", add_prefix_space = false, trim_offsets = true, use_regex = true },
            post_processor = (object?)null,
            decoder = new { type = "ByteLevel", add_prefix_space = true, trim_offsets = true, use_regex = true },
            model = new
            {
                type = "BPE",
                dropout = (double?)null,
                unk_token = (string?)null,
                continuing_subword_prefix = (string?)null,
                end_of_word_suffix = (string?)null,
                fuse_unk = false,
                byte_fallback = false,
                vocab = vocabulary,
                merges = new[] { "t h" },
            },
        });
    }
}
