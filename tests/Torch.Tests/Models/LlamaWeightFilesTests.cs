using Platform.Formats;
using Platform.Formats.Safetensors;
using Platform.Torch.Models.Llama;
using Platform.Torch.Tests.Reference;
using Xunit;
using static TorchSharp.torch;

namespace Platform.Torch.Tests.Models;

public sealed class LlamaWeightFilesTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("platform-weights-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Theory]
    [InlineData(1, ScalarType.Float32)]
    [InlineData(3, ScalarType.Float32)]
    [InlineData(2, ScalarType.BFloat16)]
    [InlineData(1, ScalarType.Float64)]
    public void A_model_that_was_written_computes_the_same_bits_when_loaded(int shards, ScalarType type)
    {
        using var scope = NewDisposeScope();
        using var withoutGradients = no_grad();
        using var written = LlamaModel.Initialise(ModelConfigs.Qwen2, new SeededInputs().Seed, type, CPU);
        Write(written, shards);

        using var loaded = LlamaModel.Load(ModelConfigs.Qwen2, _directory, type, CPU);

        var tokens = tensor(new long[] { 1, 5, 9, 2 }).view(1, 4);
        Compare.SameBits(written.Forward(tokens, false).Logits_BTV, loaded.Forward(tokens, false).Logits_BTV);
    }

    [Fact]
    public void A_rank_reads_exactly_its_slice_and_zeros_for_padding()
    {
        using var scope = NewDisposeScope();
        using var model = LlamaModel.Initialise(ModelConfigs.Tiny, 3, ScalarType.Float32, CPU);
        Write(model, 2);
        using var files = LlamaWeightFiles.Open(_directory);
        foreach (var parameter in LlamaParameters.All(ModelConfigs.Tiny))
        {
            for (var rank = 0; rank < 4; rank++)
            {
                var slice = parameter.SliceFor(rank, 4);
                Compare.SameBits(
                    LlamaInitializer.Create(ModelConfigs.Tiny, parameter, slice, 3, ScalarType.Float32),
                    files.Read(parameter, slice, ScalarType.Float32));
            }
        }
    }

    [Theory]
    [InlineData(ScalarType.BFloat16, ScalarType.Float32)]
    [InlineData(ScalarType.Float32, ScalarType.BFloat16)]
    [InlineData(ScalarType.Float16, ScalarType.Float64)]
    public void Weights_are_converted_to_the_type_asked_for(ScalarType stored, ScalarType wanted)
    {
        using var scope = NewDisposeScope();
        var parameter = LlamaParameters.All(ModelConfigs.Tiny)[0];
        var values = new SeededInputs().Tensor(stored, [.. parameter.Shape]);
        WriteFile("model.safetensors", [(parameter.Name, values)]);
        using var files = LlamaWeightFiles.Open(_directory);
        Compare.SameBits(values.to(wanted), files.Read(parameter, parameter.Whole, wanted));
    }

    [Fact]
    public void A_weight_that_is_missing_or_of_another_shape_or_kind_is_named()
    {
        using var scope = NewDisposeScope();
        var (embedding, norm) = (LlamaParameters.All(ModelConfigs.Tiny)[0], LlamaParameters.All(ModelConfigs.Tiny)[1]);
        WriteFile("model.safetensors", [(embedding.Name, ones(38, 32)), (norm.Name, ones([32], ScalarType.Int64))]);
        using var files = LlamaWeightFiles.Open(_directory);

        Assert.Contains("[38, 32]", Refused(embedding));
        Assert.Contains("I64", Refused(norm));
        Assert.Contains("lm_head.weight", Refused(LlamaParameters.All(ModelConfigs.Tiny)[^1]));

        string Refused(LlamaParameter parameter) =>
            Assert.Throws<ModelFormatException>(() => files.Read(parameter, parameter.Whole, ScalarType.Float32)).Message;
    }

    [Fact]
    public void An_index_that_names_a_file_without_the_tensor_is_refused()
    {
        using var scope = NewDisposeScope();
        WriteFile("a.safetensors", [("x", ones(2))]);
        new SafetensorsIndex(null, new Dictionary<string, string> { ["x"] = "a.safetensors", ["y"] = "a.safetensors" })
            .Write(Path.Combine(_directory, SafetensorsIndex.FileName));
        Assert.Contains("a.safetensors", Assert.Throws<ModelFormatException>(() => LlamaWeightFiles.Open(_directory)).Message);
    }

    [Fact]
    public void A_directory_without_weights_is_refused() =>
        Assert.Contains("model.safetensors", Assert.Throws<FileNotFoundException>(() => LlamaWeightFiles.Open(_directory)).Message);

    private void Write(LlamaModel model, int shards)
    {
        var weights = model.Weights.Select(pair => (pair.Key, pair.Value)).ToList();
        if (shards == 1)
        {
            WriteFile("model.safetensors", weights);
            return;
        }

        var map = new Dictionary<string, string>();
        for (var shard = 0; shard < shards; shard++)
        {
            var part = weights.Where((_, index) => index % shards == shard).ToList();
            var name = $"model-{shard + 1:d5}-of-{shards:d5}.safetensors";
            WriteFile(name, part);
            foreach (var (weight, _) in part)
                map.Add(weight, name);
        }

        new SafetensorsIndex(null, map).Write(Path.Combine(_directory, SafetensorsIndex.FileName));
    }

    private void WriteFile(string name, IReadOnlyList<(string Name, Tensor Tensor)> tensors)
    {
        using var writer = SafetensorsWriter.Create(
            Path.Combine(_directory, name),
            tensors.Select(pair => new TensorDeclaration(pair.Name, pair.Tensor.dtype.ToTensorDataType(), TensorShape.Create(pair.Tensor.shape))));
        foreach (var (tensorName, tensor) in tensors)
            TensorMemory.WriteTo(tensor, writer, tensorName);
        writer.Commit();
    }
}
