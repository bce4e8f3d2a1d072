using System.Runtime.InteropServices;
using System.Text.Json;
using Platform.Core.Models;
using Platform.Formats.HuggingFace;
using Platform.Formats.Safetensors;
using Platform.Text.Tokenization;

namespace Platform.Benchmarks.Serving;

/// <summary>
/// A Llama of random weights as a Hugging Face directory in bf16, with a byte-level tokenizer whose further tokens are pairs
/// of letters. Speed does not depend on what a model has learned.
/// </summary>
internal sealed class BenchModel
{
    private const int Bytes = 256;

    private BenchModel(ModelConfig config, string directory) => (Config, Directory) = (config, directory);

    public ModelConfig Config { get; }

    public string Directory { get; }

    /// <summary>Where the same weights lie for llama.cpp.</summary>
    public string GgufPath => Path.Combine(Directory, "model.gguf");

    /// <summary>88 million parameters; for a quick run, 4 million.</summary>
    public static ModelConfig Shape(bool quick) => new()
    {
        Architecture = "llama",
        VocabSize = 4096,
        HiddenSize = quick ? 256 : 768,
        IntermediateSize = quick ? 688 : 2048,
        NumHiddenLayers = quick ? 4 : 12,
        NumAttentionHeads = quick ? 4 : 12,
        NumKeyValueHeads = quick ? 4 : 12,
        HeadDim = 64,
        MaxPositionEmbeddings = 4096,
        TieWordEmbeddings = true,
        BosTokenId = 0,
        EosTokenIds = [0],
    };

    /// <summary>A model so small that everything around it is what costs.</summary>
    public static ModelConfig Tiny() => Shape(quick: true) with
    {
        VocabSize = 512,
        HiddenSize = 64,
        IntermediateSize = 128,
        NumHiddenLayers = 2,
        NumAttentionHeads = 2,
        NumKeyValueHeads = 2,
        HeadDim = 32,
        MaxPositionEmbeddings = 512,
    };

    /// <summary>Writes the model.</summary>
    /// <param name="config">Shape.</param>
    /// <param name="directory">Where to.</param>
    /// <param name="single">In fp32, of numbers that bf16 does not have.</param>
    /// <param name="seed">Seed of the weights; layers of models of one seed and width are the same, as far as they go.</param>
    /// <param name="tail">A layer and a factor of what it and the later ones add to the stream.</param>
    /// <param name="withGguf">Write the file for llama.cpp as well.</param>
    public static BenchModel Write(
        ModelConfig config, string directory, bool single = false, int seed = 7, (int Layer, float Factor)? tail = null, bool withGguf = true)
    {
        System.IO.Directory.CreateDirectory(directory);
        var tokens = Vocabulary(config.VocabSize);
        WriteTokenizer(directory, tokens);
        var model = new BenchModel(config, directory);
        using var export = HuggingFaceExport.Create(
            directory, HuggingFaceConfig.Of(config, single ? TensorDataType.F32 : TensorDataType.BF16), new GenerationConfig { BosTokenId = 0, EosTokenIds = [0] });
        using var gguf = withGguf ? new GgufWriter(model.GgufPath, config, tokens, single) : null;
        var random = new Random(seed);
        foreach (var tensor in ModelTensors.Of(config))
        {
            var values = new float[tensor.Shape.ElementCount()];
            var isNorm = tensor.Shape.Count == 1;
            var factor = tail is { } faint && IsResidual(tensor.Name, faint.Layer) ? faint.Factor : 1;
            for (var i = 0; i < values.Length; i++)
                values[i] = isNorm ? (single ? (float)(0.75 + (random.NextDouble() * 0.5)) : 1) : factor * (float)((random.NextDouble() - 0.5) * 0.08);
            export.Write(tensor.Name, single ? MemoryMarshal.AsBytes<float>(values) : MemoryMarshal.AsBytes<ushort>(Rounded(values)));
            gguf?.Write(tensor.Name, values);
        }

        export.Commit();
        return model;
    }

    /// <summary>Whether a weight writes to the stream in this layer or a later one.</summary>
    private static bool IsResidual(string name, int from) =>
        name.Split('.') is ["model", "layers", var layer, _, "o_proj" or "down_proj", "weight"] && int.Parse(layer, System.Globalization.CultureInfo.InvariantCulture) >= from;

    /// <summary>The nearest numbers in bf16.</summary>
    public static ushort[] Rounded(float[] values) => [.. values.Select(value =>
    {
        var bits = BitConverter.SingleToUInt32Bits(value);
        return (ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
    })];

    private static string[] Vocabulary(int size)
    {
        var tokens = new string[size];
        for (var i = 0; i < Bytes; i++)
            tokens[i] = ByteAlphabet.CharOf((byte)i).ToString();
        const string letters = "abcdefghijklmnopqrstuvwxyz";
        for (var i = Bytes; i < size; i++)
        {
            var number = i - Bytes;
            tokens[i] = $"{letters[number % 26]}{letters[number / 26 % 26]}{letters[number / 676 % 26]}";
        }

        return tokens;
    }

    private static void WriteTokenizer(string directory, string[] tokens)
    {
        var vocabulary = new Dictionary<string, int>();
        for (var i = 0; i < tokens.Length; i++)
            vocabulary.Add(tokens[i], i);
        File.WriteAllText(Path.Combine(directory, "tokenizer.json"), JsonSerializer.Serialize(new
        {
            version = "1.0",
            truncation = (object?)null,
            padding = (object?)null,
            added_tokens = Array.Empty<object>(),
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
                merges = Array.Empty<string>(),
            },
        }));
    }
}
