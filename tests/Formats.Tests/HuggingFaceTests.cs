using System.Text.Json;
using System.Text.Json.Nodes;
using Platform.Core.Models;
using Platform.Core.Validation;
using Platform.Formats.HuggingFace;
using Platform.Formats.Safetensors;
using Xunit;

namespace Platform.Formats.Tests;

public sealed class HuggingFaceTests : IDisposable
{
    private static readonly ModelConfig Small = new()
    {
        Architecture = "llama",
        VocabSize = 32,
        HiddenSize = 8,
        IntermediateSize = 16,
        NumHiddenLayers = 2,
        NumAttentionHeads = 4,
        NumKeyValueHeads = 2,
        HeadDim = 2,
        MaxPositionEmbeddings = 64,
        EosTokenIds = [31],
    };

    private readonly TemporaryDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    public static TheoryData<string, string> Files => new()
    {
        { "llama3", """{"architectures":["LlamaForCausalLM"],"model_type":"llama","attention_bias":false,"bos_token_id":128000,"eos_token_id":[128001,128008,128009],"head_dim":64,"hidden_act":"silu","hidden_size":2048,"initializer_range":0.02,"intermediate_size":8192,"max_position_embeddings":131072,"mlp_bias":false,"num_attention_heads":32,"num_hidden_layers":16,"num_key_value_heads":8,"pretraining_tp":1,"rms_norm_eps":1e-05,"rope_scaling":{"factor":32.0,"high_freq_factor":4.0,"low_freq_factor":1.0,"original_max_position_embeddings":8192,"rope_type":"llama3"},"rope_theta":500000.0,"tie_word_embeddings":true,"torch_dtype":"bfloat16","use_cache":true,"vocab_size":128256}""" },
        { "qwen2", """{"architectures":["Qwen2ForCausalLM"],"model_type":"qwen2","bos_token_id":151643,"eos_token_id":151645,"hidden_act":"silu","hidden_size":896,"intermediate_size":4864,"max_position_embeddings":32768,"max_window_layers":21,"num_attention_heads":14,"num_hidden_layers":24,"num_key_value_heads":2,"rms_norm_eps":1e-06,"rope_theta":1000000.0,"sliding_window":32768,"tie_word_embeddings":true,"torch_dtype":"bfloat16","use_sliding_window":false,"vocab_size":151936}""" },
        { "yarn", """{"architectures":["Qwen2ForCausalLM"],"model_type":"qwen2","bos_token_id":151643,"eos_token_id":151645,"head_dim":128,"hidden_act":"silu","hidden_size":1536,"intermediate_size":8960,"max_position_embeddings":32768,"num_attention_heads":12,"num_hidden_layers":28,"num_key_value_heads":2,"rms_norm_eps":1e-06,"rope_scaling":{"beta_fast":32.0,"beta_slow":1.0,"factor":4.0,"original_max_position_embeddings":32768,"rope_type":"yarn"},"rope_theta":1000000.0,"tie_word_embeddings":true,"torch_dtype":"bfloat16","use_cache":true,"vocab_size":151936}""" },
        { "qwen3", """{"architectures":["Qwen3ForCausalLM"],"model_type":"qwen3","attention_bias":false,"bos_token_id":151643,"eos_token_id":151645,"head_dim":128,"hidden_act":"silu","hidden_size":1024,"intermediate_size":3072,"max_position_embeddings":40960,"num_attention_heads":16,"num_hidden_layers":28,"num_key_value_heads":8,"rms_norm_eps":1e-06,"rope_parameters":{"rope_theta":1000000,"rope_type":"default"},"sliding_window":null,"tie_word_embeddings":true,"dtype":"bfloat16","use_sliding_window":false,"vocab_size":151936}""" },
        { "mistral", """{"architectures":["MistralForCausalLM"],"model_type":"mistral","bos_token_id":1,"eos_token_id":2,"hidden_act":"silu","hidden_size":4096,"intermediate_size":14336,"max_position_embeddings":32768,"num_attention_heads":32,"num_hidden_layers":32,"num_key_value_heads":8,"rms_norm_eps":1e-05,"rope_theta":1000000.0,"sliding_window":null,"tie_word_embeddings":false,"torch_dtype":"bfloat16","vocab_size":32768}""" },
    };

    [Theory]
    [MemberData(nameof(Files))]
    public void A_configuration_is_read_and_written_without_loss(string name, string text)
    {
        var config = Read(text);
        var (heads, theta, parameters) = name switch
        {
            "llama3" => (32, 500_000.0, 1_235_814_400L),
            "qwen2" => (14, 1_000_000.0, 494_032_768L),
            "yarn" => (12, 1_000_000.0, 1_543_714_304L),
            "qwen3" => (16, 1_000_000.0, 596_049_920L),
            _ => (32, 1_000_000.0, 7_248_023_552L),
        };
        Assert.Equal(heads, config.Model.NumAttentionHeads);
        Assert.Equal(theta, config.Model.RopeTheta);
        Assert.Equal(parameters, config.Model.ParameterCount);
        Assert.Equal(parameters, ModelTensors.Of(config.Model).Sum(tensor => tensor.Shape.ElementCount()));
        Assert.Equal(TensorDataType.BF16, config.DataType);
        var original = (JsonObject)JsonNode.Parse(text)!;
        var written = config.ToJson();
        foreach (var (key, value) in original)
        {
            Assert.True(JsonNode.DeepEquals(Numbers(value), Numbers(written[key])), $"{key}: {value} became {written[key]}");
        }
        Assert.Equal(config.Model with { EosTokenIds = [] }, Read(written.ToJsonString()).Model with { EosTokenIds = [] });
    }

    [Fact]
    public void The_scaling_of_positions_is_read()
    {
        Assert.Equal(new RopeScaling("llama3", 32, 1, 4, 8192), Read((string)Files.First().Data.Item2).Model.RopeScaling);
    }

    [Fact]
    public void Rescalings_of_rotary_frequencies_are_read_with_their_defaults()
    {
        Assert.Equal(new RopeScaling("dynamic", 2), Scaling("""{"type":"dynamic","factor":2}"""));
        Assert.Equal(new RopeScaling("yarn", 4, OriginalMaxPositionEmbeddings: 131072), Scaling("""{"rope_type":"yarn","factor":4}"""));
        Assert.Equal(
            new RopeScaling("yarn", 32, OriginalMaxPositionEmbeddings: 4096, BetaFast: 16, BetaSlow: 2, Truncate: false, AttentionFactor: 1.25),
            Scaling("""{"rope_type":"yarn","original_max_position_embeddings":4096,"beta_fast":16,"beta_slow":2,"truncate":false,"attention_factor":1.25}"""));
        Assert.Equal(
            ((0.1 * 0.707 * Math.Log(40)) + 1) / ((0.1 * 1.5 * Math.Log(40)) + 1),
            Scaling("""{"rope_type":"yarn","factor":40,"mscale":0.707,"mscale_all_dim":1.5}""")?.AttentionFactor);

        static RopeScaling? Scaling(string json)
        {
            var file = (JsonObject)(JsonNode.Parse((string)Files.First().Data.Item2) ?? throw new InvalidOperationException());
            file["rope_scaling"] = JsonNode.Parse(json);
            return Read(file.ToJsonString()).Model.RopeScaling;
        }
    }

    [Theory]
    [InlineData("model_type", "\"gpt_neox\"", "supported are llama (LlamaForCausalLM), mistral")]
    [InlineData("architectures", "[\"LlamaForSequenceClassification\"]", "only LlamaForCausalLM")]
    [InlineData("hidden_act", "\"gelu\"", "only silu")]
    [InlineData("attention_bias", "true", "output projection")]
    [InlineData("mlp_bias", "true", "MLP")]
    [InlineData("sliding_window", "32", "sliding windows")]
    [InlineData("quantization_config", "{}", "quantised")]
    [InlineData("rope_scaling", "{\"rope_type\":\"longrope\",\"factor\":4}", "'longrope'")]
    [InlineData("rope_scaling", "[]", "object")]
    [InlineData("num_key_value_heads", "3", "does not divide")]
    [InlineData("head_dim", "3", "odd")]
    [InlineData("hidden_size", "-1", "-1")]
    [InlineData("hidden_size", "null", "missing")]
    [InlineData("hidden_size", "8.5", "8.5")]
    [InlineData("eos_token_id", "\"x\"", "token id")]
    [InlineData("torch_dtype", "\"int4\"", "int4")]
    public void What_is_not_supported_is_named_with_what_is(string key, string value, string reason)
    {
        var json = HuggingFaceConfig.Of(Small, TensorDataType.F32).ToJson();
        json[key] = JsonNode.Parse(value);
        Assert.Contains(Problems(json.ToJsonString()), violation => violation.Field.StartsWith(key, StringComparison.Ordinal) && violation.Message.Contains(reason, StringComparison.Ordinal));
    }

    [Fact]
    public void All_problems_are_reported_together()
    {
        var problems = Problems("""{"model_type":"llama","hidden_size":0,"hidden_act":"relu"}""");
        Assert.Subset(problems.Select(problem => problem.Field).ToHashSet(), new HashSet<string> { "hidden_size", "hidden_act", "vocab_size", "num_hidden_layers" });
        File.WriteAllText(_directory[HuggingFaceConfig.FileName], """{"model_type":"bert"}""");
        Assert.Contains("vocab_size", Assert.Throws<ModelFormatException>(() => HuggingFaceModelDirectory.Open(_directory.Path)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(long.MaxValue, 1)]
    [InlineData(1500, 6)]
    public void An_export_opens_and_fits_its_configuration(long maxShardBytes, int files)
    {
        Export(Small, maxShardBytes);
        Assert.Equal(files, Directory.EnumerateFiles(_directory.Path, "*.safetensors").Count());
        using var model = HuggingFaceModelDirectory.Open(_directory.Path);
        Assert.Equal(["tokenizer.json"], model.Validate().Select(violation => violation.Field));
        File.WriteAllText(_directory["tokenizer.json"], "{}");
        Assert.Empty(model.Validate());
        Assert.Equal(Small with { EosTokenIds = [] }, model.Config.Model with { EosTokenIds = [] });
        Assert.Equal([31], model.Generation.EosTokenIds);
        Assert.Equal(0.7, model.Generation.Temperature);
        foreach (var tensor in ModelTensors.Of(Small))
        {
            Assert.Equal(Fill(tensor), model.Span(tensor.Name).ToArray());
        }
    }

    [Fact]
    public void An_export_that_is_not_finished_is_no_model()
    {
        using (var export = HuggingFaceExport.Create(_directory.Path, HuggingFaceConfig.Of(Small, TensorDataType.F32), new GenerationConfig()))
        {
            export.Write("model.norm.weight", new byte[32]);
            Assert.Throws<InvalidOperationException>(export.Commit);
            Assert.Throws<ArgumentException>(() => export.Write("unknown", [1]));
        }
        Assert.Empty(Directory.EnumerateFileSystemEntries(_directory.Path));
    }

    [Fact]
    public void Every_weight_that_does_not_fit_is_reported()
    {
        Export(Small with { TieWordEmbeddings = true, NumHiddenLayers = 3 }, long.MaxValue);
        HuggingFaceConfig.Of(Small with { HiddenSize = 16 }, TensorDataType.F32).Write(_directory[HuggingFaceConfig.FileName]);
        using var model = HuggingFaceModelDirectory.Open(_directory.Path);
        var violations = model.Validate().ToDictionary(violation => violation.Field, violation => violation.Message);
        Assert.Contains("missing", violations["lm_head.weight"], StringComparison.Ordinal);
        Assert.Contains("found shape [8]; the configuration asks for [16]", violations["model.norm.weight"], StringComparison.Ordinal);
        Assert.Contains("does not have", violations["model.layers.2.mlp.up_proj.weight"], StringComparison.Ordinal);
    }

    [Fact]
    public void An_index_that_lies_about_its_files_is_reported()
    {
        Export(Small, 1500);
        var path = _directory[SafetensorsIndex.FileName];
        var index = SafetensorsIndex.Read(path);
        var first = index.WeightMap["model.embed_tokens.weight"];
        var other = index.WeightMap.Values.First(file => file != first);
        new SafetensorsIndex(1, new Dictionary<string, string>(index.WeightMap) { ["model.embed_tokens.weight"] = other }).Write(path);
        using var model = HuggingFaceModelDirectory.Open(_directory.Path);
        Assert.Contains(model.Validate(), violation => violation.Field == "model.embed_tokens.weight" && violation.Message.Contains("does not hold it", StringComparison.Ordinal));
    }

    [Fact]
    public void Weights_that_can_run_code_are_refused()
    {
        HuggingFaceConfig.Of(Small, TensorDataType.F32).Write(_directory[HuggingFaceConfig.FileName]);
        File.WriteAllText(_directory["pytorch_model.bin"], "");
        Assert.Contains("pytorch_model.bin", Assert.Throws<ModelFormatException>(() => HuggingFaceModelDirectory.Open(_directory.Path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_weights_file_that_links_out_of_the_directory_is_refused()
    {
        Export(Small, long.MaxValue);
        using var elsewhere = new TemporaryDirectory();
        File.Move(_directory["model.safetensors"], elsewhere["model.safetensors"]);
        File.CreateSymbolicLink(_directory["model.safetensors"], elsewhere["model.safetensors"]);
        Assert.Contains("leads out", Assert.Throws<ModelFormatException>(() => HuggingFaceModelDirectory.Open(_directory.Path)).Message, StringComparison.Ordinal);
    }

    private void Export(ModelConfig config, long maxShardBytes)
    {
        using var export = HuggingFaceExport.Create(_directory.Path, HuggingFaceConfig.Of(config, TensorDataType.F32), new GenerationConfig { EosTokenIds = config.EosTokenIds, Temperature = 0.7 }, maxShardBytes);
        foreach (var tensor in ModelTensors.Of(config).Reverse())
        {
            export.Write(tensor.Name, Fill(tensor));
        }
        export.Commit();
    }

    private static byte[] Fill(ModelTensor tensor)
    {
        var bytes = new byte[tensor.Shape.ByteLength(TensorDataType.F32)];
        new Random(tensor.Name.Sum(c => c)).NextBytes(bytes);
        return bytes;
    }

    private static HuggingFaceConfig Read(string text)
    {
        using var document = JsonDocument.Parse(text);
        return Assert.IsType<Validated<HuggingFaceConfig>.Valid>(HuggingFaceConfig.Parse(document.RootElement)).Value;
    }

    private static IReadOnlyList<Violation> Problems(string text)
    {
        using var document = JsonDocument.Parse(text);
        return Assert.IsType<Validated<HuggingFaceConfig>.Invalid>(HuggingFaceConfig.Parse(document.RootElement)).Violations;
    }

    /// <summary>1.0 and 1 are the same number.</summary>
    private static JsonNode? Numbers(JsonNode? node) => node switch
    {
        JsonObject o => new JsonObject(o.Select(pair => KeyValuePair.Create(pair.Key, Numbers(pair.Value)))),
        JsonArray a => new JsonArray([.. a.Select(Numbers)]),
        JsonValue v when v.GetValueKind() == JsonValueKind.Number => JsonValue.Create(double.Parse(v.ToJsonString(), System.Globalization.CultureInfo.InvariantCulture)),
        _ => node?.DeepClone(),
    };
}
