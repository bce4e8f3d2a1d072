using System.Runtime.InteropServices;
using System.Text;
using Platform.Core.Models;
using Platform.Formats.HuggingFace;

namespace Platform.Benchmarks.Serving;

/// <summary>
/// Writes a Llama's weights as llama.cpp reads them (GGUF version 3, docs/gguf.md of ggml): matrices in bf16 or fp32, norms in fp32,
/// the rows of query and key turned from halves to neighbouring pairs, which is the rotary pairing of that format.
/// </summary>
internal sealed class GgufWriter : IDisposable
{
    private const int Alignment = 32;
    private const uint TypeF32 = 0, TypeBF16 = 30;
    private const uint ValueUInt32 = 4, ValueInt32 = 5, ValueFloat32 = 6, ValueString = 8, ValueArray = 9;

    private readonly FileStream _file;
    private readonly ModelConfig _config;
    private readonly Dictionary<string, (long Offset, TensorPlace Place)> _places = [];

    private sealed record TensorPlace(string Name, long[] Shape, uint Type, long Bytes);

    public GgufWriter(string path, ModelConfig config, IReadOnlyList<string> tokens, bool single)
    {
        _config = config;
        _file = File.Create(path);
        using var writer = new BinaryWriter(_file, Encoding.UTF8, leaveOpen: true);
        var tensors = ModelTensors.Of(config).Select(tensor => (Source: tensor.Name, Place: Place(tensor, single))).ToList();
        var metadata = Metadata(tokens);
        writer.Write("GGUF"u8);
        writer.Write(3u);
        writer.Write((ulong)tensors.Count);
        writer.Write((ulong)metadata.Count);
        foreach (var (key, write) in metadata)
        {
            Text(writer, key);
            write(writer);
        }

        long offset = 0;
        foreach (var (source, place) in tensors)
        {
            Text(writer, place.Name);
            writer.Write((uint)place.Shape.Length);
            foreach (var length in place.Shape.Reverse())
                writer.Write((ulong)length);
            writer.Write(place.Type);
            writer.Write((ulong)offset);
            _places.Add(source, (offset, place));
            offset = Aligned(offset + place.Bytes);
        }

        writer.Flush();
        var start = Aligned(_file.Position);
        foreach (var source in _places.Keys.ToList())
            _places[source] = (_places[source].Offset + start, _places[source].Place);
        _file.SetLength(start + offset);
    }

    /// <summary>Writes a weight.</summary>
    /// <param name="name">Its name at Hugging Face.</param>
    /// <param name="values">Its numbers, row by row; rounded where the file has bf16.</param>
    public void Write(string name, float[] values)
    {
        var (offset, place) = _places[name];
        _file.Position = offset;
        var turned = name.Contains("q_proj", StringComparison.Ordinal) || name.Contains("k_proj", StringComparison.Ordinal) ? Turned(values, (int)place.Shape[1]) : values;
        _file.Write(place.Type == TypeF32 ? MemoryMarshal.AsBytes<float>(turned) : MemoryMarshal.AsBytes<ushort>(BenchModel.Rounded(turned)));
    }

    public void Dispose() => _file.Dispose();

    private float[] Turned(float[] values, int width)
    {
        var result = new float[values.Length];
        var (size, half) = (_config.HeadDim, _config.HeadDim / 2);
        for (var row = 0; row < values.Length / width; row++)
        {
            var (head, within) = (row / size, row % size);
            var source = (head * size) + (within % 2 * half) + (within / 2);
            values.AsSpan(source * width, width).CopyTo(result.AsSpan(row * width));
        }

        return result;
    }

    private static TensorPlace Place(ModelTensor tensor, bool single)
    {
        var shape = tensor.Shape.Dims.ToArray();
        var isSingle = single || shape.Length == 1;
        var parts = tensor.Name.Split('.');
        var name = parts is ["model", "layers", var layer, .. var rest]
            ? $"blk.{layer}." + string.Join('.', rest) switch
            {
                "input_layernorm.weight" => "attn_norm.weight",
                "self_attn.q_proj.weight" => "attn_q.weight",
                "self_attn.k_proj.weight" => "attn_k.weight",
                "self_attn.v_proj.weight" => "attn_v.weight",
                "self_attn.o_proj.weight" => "attn_output.weight",
                "post_attention_layernorm.weight" => "ffn_norm.weight",
                "mlp.gate_proj.weight" => "ffn_gate.weight",
                "mlp.up_proj.weight" => "ffn_up.weight",
                "mlp.down_proj.weight" => "ffn_down.weight",
                var other => throw new ArgumentException($"There is no place for {other}."),
            }
            : tensor.Name switch
            {
                "model.embed_tokens.weight" => "token_embd.weight",
                "model.norm.weight" => "output_norm.weight",
                "lm_head.weight" => "output.weight",
                var other => throw new ArgumentException($"There is no place for {other}."),
            };
        return new(name, shape, isSingle ? TypeF32 : TypeBF16, shape.Aggregate(1L, (a, b) => a * b) * (isSingle ? 4 : 2));
    }

    private List<(string Key, Action<BinaryWriter> Write)> Metadata(IReadOnlyList<string> tokens) =>
    [
        Word("general.architecture", "llama"),
        Word("general.name", "bench"),
        Number("llama.context_length", _config.MaxPositionEmbeddings),
        Number("llama.embedding_length", _config.HiddenSize),
        Number("llama.block_count", _config.NumHiddenLayers),
        Number("llama.feed_forward_length", _config.IntermediateSize),
        Number("llama.attention.head_count", _config.NumAttentionHeads),
        Number("llama.attention.head_count_kv", _config.NumKeyValueHeads),
        Number("llama.rope.dimension_count", _config.HeadDim),
        Number("llama.vocab_size", _config.VocabSize),
        Real("llama.rope.freq_base", _config.RopeTheta),
        Real("llama.attention.layer_norm_rms_epsilon", _config.RmsNormEps),
        Word("tokenizer.ggml.model", "gpt2"),
        Word("tokenizer.ggml.pre", "default"),
        Words("tokenizer.ggml.tokens", tokens),
        ("tokenizer.ggml.token_type", writer =>
        {
            Header(writer, ValueInt32, tokens.Count);
            for (var i = 0; i < tokens.Count; i++)
                writer.Write(1);
        }),
        Words("tokenizer.ggml.merges", [$"{tokens['t']} {tokens['h']}"]),
        Number("tokenizer.ggml.bos_token_id", 0),
        Number("tokenizer.ggml.eos_token_id", 0),
    ];

    private static (string, Action<BinaryWriter>) Number(string key, int value) => (key, writer =>
    {
        writer.Write(ValueUInt32);
        writer.Write((uint)value);
    }
    );

    private static (string, Action<BinaryWriter>) Real(string key, double value) => (key, writer =>
    {
        writer.Write(ValueFloat32);
        writer.Write((float)value);
    }
    );

    private static (string, Action<BinaryWriter>) Word(string key, string value) => (key, writer =>
    {
        writer.Write(ValueString);
        Text(writer, value);
    }
    );

    private static (string, Action<BinaryWriter>) Words(string key, IReadOnlyList<string> values) => (key, writer =>
    {
        Header(writer, ValueString, values.Count);
        foreach (var value in values)
            Text(writer, value);
    }
    );

    private static void Header(BinaryWriter writer, uint type, int count)
    {
        writer.Write(ValueArray);
        writer.Write(type);
        writer.Write((ulong)count);
    }

    private static void Text(BinaryWriter writer, string text)
    {
        var bytes = Encoding.UTF8.GetBytes(text);
        writer.Write((ulong)bytes.Length);
        writer.Write(bytes);
    }

    private static long Aligned(long offset) => (offset + Alignment - 1) / Alignment * Alignment;
}
