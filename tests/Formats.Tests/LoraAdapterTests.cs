using System.Buffers.Binary;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Platform.Core.Models;
using Platform.Formats.Peft;
using Xunit;

namespace Platform.Formats.Tests;

public sealed class LoraAdapterTests : IDisposable
{
    private static readonly ModelConfig Model = new()
    {
        Architecture = "llama",
        VocabSize = 20,
        HiddenSize = 8,
        IntermediateSize = 12,
        NumHiddenLayers = 2,
        NumAttentionHeads = 4,
        NumKeyValueHeads = 2,
        HeadDim = 2,
        MaxPositionEmbeddings = 16,
    };

    private readonly string _path = Directory.CreateTempSubdirectory("formats-test-").FullName;

    public void Dispose() => Directory.Delete(_path, recursive: true);

    [Fact]
    public void Reads_what_peft_writes()
    {
        Write(Tensors("q_proj", "v_proj"));
        using var adapter = LoraAdapterDirectory.Open(_path);
        Assert.Empty(adapter.Validate(Model, 8));
        Assert.Equal((2, 4.0, "org/base"), (adapter.Rank, adapter.Scale, adapter.Config.BaseModel));
        Assert.True(adapter.Adapts("model.layers.1.self_attn.q_proj.weight"));
        Assert.False(adapter.Adapts("model.layers.1.self_attn.k_proj.weight"));
        Assert.Equal(2L * ((2 * 8 * 2) + (8 * 2) + (4 * 2)), adapter.ParameterCount);
        Assert.Equal("base_model.model.model.layers.0.self_attn.v_proj.lora_B.weight", LoraAdapterDirectory.NameOfB("model.layers.0.self_attn.v_proj.weight"));
    }

    [Fact]
    public void Scales_by_the_root_of_the_rank_where_the_file_says_so()
    {
        Write(Tensors("q_proj", "v_proj"), config => config["use_rslora"] = true);
        using var adapter = LoraAdapterDirectory.Open(_path);
        Assert.Equal(8 / Math.Sqrt(2), adapter.Scale, 12);
    }

    [Fact]
    public void Finds_an_adapter_by_itself_and_in_a_merged_model()
    {
        Assert.Null(LoraAdapterDirectory.Find(_path));
        var inside = Directory.CreateDirectory(Path.Combine(_path, "adapter")).FullName;
        File.WriteAllText(Path.Combine(inside, "adapter_config.json"), "{}");
        Assert.Equal(inside, LoraAdapterDirectory.Find(_path));
        File.WriteAllText(Path.Combine(_path, "adapter_config.json"), "{}");
        Assert.Equal(_path, LoraAdapterDirectory.Find(_path));
    }

    [Theory]
    [InlineData("peft_type", "\"IA3\"", "only LORA is supported")]
    [InlineData("r", "0", "a whole number from 1 on")]
    [InlineData("r", "70000", "at most 65536")]
    [InlineData("lora_alpha", "-1", "a number above 0")]
    [InlineData("use_dora", "true", "use_dora: found true; this is not supported")]
    [InlineData("bias", "\"all\"", "adapted biases are not supported")]
    [InlineData("fan_in_fan_out", "true", "not supported")]
    [InlineData("modules_to_save", "[\"lm_head\"]", "modules_to_save: found [\"lm_head\"]; this is not supported")]
    [InlineData("rank_pattern", "{\"q_proj\":4}", "not supported")]
    [InlineData("target_modules", "[]", "a list of projections is expected")]
    [InlineData("target_modules", "[1]", "a list of projections is expected")]
    public void Refuses_what_it_cannot_do_by_name(string key, string value, string reason)
    {
        Write(Tensors("q_proj", "v_proj"), config => config[key] = JsonNode.Parse(value));
        Assert.Contains(reason, Assert.Throws<ModelFormatException>(() => LoraAdapterDirectory.Open(_path)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{", "not valid JSON")]
    [InlineData("[]", "a JSON object is expected")]
    [InlineData("""{"peft_type":"LORA","r":2,"r":3,"target_modules":["q_proj"]}""", "the key appears twice")]
    [InlineData("""{"peft_type":"LORA","r":1e99,"target_modules":["q_proj"]}""", "a whole number from 1 on")]
    public void Refuses_damaged_configurations(string json, string reason)
    {
        Write(Tensors("q_proj"));
        File.WriteAllText(Path.Combine(_path, LoraConfig.FileName), json);
        Assert.Contains(reason, Assert.Throws<ModelFormatException>(() => LoraAdapterDirectory.Open(_path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Refuses_files_that_are_missing_pickled_or_outside()
    {
        Assert.Contains("there is no adapter_config.json", Refusal(), StringComparison.Ordinal);
        Write(Tensors("q_proj"));
        File.Delete(Path.Combine(_path, "adapter_model.safetensors"));
        File.WriteAllText(Path.Combine(_path, "adapter_model.bin"), "");
        Assert.Contains("can run code when it is read", Refusal(), StringComparison.Ordinal);
        var outside = Directory.CreateTempSubdirectory("formats-test-").FullName;
        try
        {
            File.WriteAllText(Path.Combine(outside, "other"), "secret");
            File.CreateSymbolicLink(Path.Combine(_path, "adapter_model.safetensors"), Path.Combine(outside, "other"));
            Assert.Contains("leads out of the directory", Refusal(), StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(outside, recursive: true);
        }
    }

    [Fact]
    public void Refuses_any_cut_of_the_file()
    {
        Write(Tensors("q_proj", "v_proj"));
        var path = Path.Combine(_path, "adapter_model.safetensors");
        var whole = File.ReadAllBytes(path);
        for (var length = 0; length < whole.Length; length += 37)
        {
            File.WriteAllBytes(path, whole[..length]);
            Assert.Throws<ModelFormatException>(() => LoraAdapterDirectory.Open(_path));
        }
    }

    [Fact]
    public void Names_everything_that_does_not_fit_the_base_model()
    {
        var tensors = Tensors("q_proj", "v_proj");
        tensors.Remove("base_model.model.model.layers.0.self_attn.v_proj.lora_B.weight");
        tensors["base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"] = [2, 9];
        tensors["base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight"] = [2, 8];
        tensors["base_model.model.lm_head.lora_A.weight"] = [2, 8];
        tensors["base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight"] = [2, 8];
        Write(tensors);
        using var adapter = LoraAdapterDirectory.Open(_path);
        var violations = adapter.Validate(Model, 1).ToDictionary(violation => violation.Field, violation => violation.Message);
        Assert.Equal("the adapter's rank is 2; at most 1 is allowed here.", violations["r"]);
        Assert.Equal("the factor is missing.", violations["base_model.model.model.layers.0.self_attn.v_proj.lora_B.weight"]);
        Assert.Contains("found shape [2, 9]; with rank 2 on this base model [2, 8] is expected (the adapter was made for 'org/base')", violations["base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"], StringComparison.Ordinal);
        Assert.Contains("(2 layers) has no projection with such a factor", violations["base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight"], StringComparison.Ordinal);
        Assert.Contains("has no projection with such a factor", violations["base_model.model.lm_head.lora_A.weight"], StringComparison.Ordinal);
        Assert.Contains("does not name k_proj among its target_modules", violations["base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight"], StringComparison.Ordinal);
        Assert.Equal("the factor is missing.", violations["base_model.model.model.layers.0.self_attn.k_proj.lora_B.weight"]);
    }

    [Fact]
    public void A_layer_may_be_left_out_only_where_the_file_says_so()
    {
        var tensors = Tensors("q_proj", "v_proj").Where(tensor => tensor.Key.Contains("layers.0", StringComparison.Ordinal)).ToDictionary();
        Write(tensors);
        using (var adapter = LoraAdapterDirectory.Open(_path))
            Assert.Equal(4, adapter.Validate(Model, 8).Count);
        Write(tensors, config => config["layers_to_transform"] = new JsonArray(0));
        using (var adapter = LoraAdapterDirectory.Open(_path))
            Assert.Empty(adapter.Validate(Model, 8));
    }

    private string Refusal() => Assert.Throws<ModelFormatException>(() => LoraAdapterDirectory.Open(_path)).Message;

    private static Dictionary<string, int[]> Tensors(params string[] targets)
    {
        var tensors = new Dictionary<string, int[]>();
        for (var layer = 0; layer < Model.NumHiddenLayers; layer++)
        {
            foreach (var target in targets)
            {
                tensors.Add($"base_model.model.model.layers.{layer}.self_attn.{target}.lora_A.weight", [2, 8]);
                tensors.Add($"base_model.model.model.layers.{layer}.self_attn.{target}.lora_B.weight", [target == "q_proj" ? 8 : 4, 2]);
            }
        }

        return tensors;
    }

    private void Write(Dictionary<string, int[]> tensors, Action<JsonObject>? change = null)
    {
        var config = new JsonObject
        {
            ["peft_type"] = "LORA",
            ["base_model_name_or_path"] = "org/base",
            ["r"] = 2,
            ["lora_alpha"] = 8,
            ["target_modules"] = new JsonArray("q_proj", "v_proj"),
            ["modules_to_save"] = null,
        };
        change?.Invoke(config);
        File.WriteAllText(Path.Combine(_path, LoraConfig.FileName), config.ToJsonString());
        var header = new Dictionary<string, object>();
        var offset = 0;
        foreach (var (name, shape) in tensors)
        {
            var bytes = shape[0] * shape[1] * 4;
            header.Add(name, new { dtype = "F32", shape, data_offsets = new[] { offset, offset + bytes } });
            offset += bytes;
        }

        var json = Encoding.UTF8.GetBytes(JsonSerializer.Serialize(header));
        var file = new byte[8 + json.Length + offset];
        BinaryPrimitives.WriteInt64LittleEndian(file, json.Length);
        json.CopyTo(file, 8);
        File.WriteAllBytes(Path.Combine(_path, LoraAdapterDirectory.WeightsFileName), file);
    }
}
