using Platform.Core.Models;
using TorchSharp;
using Device = TorchSharp.torch.Device;
using ScalarType = TorchSharp.torch.ScalarType;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Models.Llama;

/// <summary>Result of a forward pass.</summary>
/// <param name="Logits_BTV">[batch, positions, vocabulary].</param>
/// <param name="Hidden_BTE">
/// If asked for, the residual stream after the embedding and after each layer (L + 1 tensors, before the final norm); else empty.
/// </param>
public sealed record LlamaOutput(Tensor Logits_BTV, IReadOnlyList<Tensor> Hidden_BTE);

/// <summary>
/// A Llama-family decoder on one device, whole: what parallel training and paged serving are compared with. It knows
/// neither parallelism nor caches. Gradients flow to the weights when they require them.
/// </summary>
/// <remarks>Owns its weights; dispose it. Use it on one thread, inside a dispose scope.</remarks>
public sealed class LlamaModel : IDisposable
{
    private readonly Dictionary<string, Tensor> _weights;
    private readonly RotaryEmbedding _rotary;

    /// <summary>A model with weights of its own.</summary>
    /// <param name="config">Shape of the model.</param>
    /// <param name="load">
    /// Gives each weight as a tensor of the named shape and of the model's type and device, which the model then owns.
    /// </param>
    /// <param name="type">Type of weights and activations.</param>
    /// <param name="device">Device of both.</param>
    public LlamaModel(ModelConfig config, Func<LlamaParameter, Tensor> load, ScalarType type, Device device)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(load);
        Config = config;
        _rotary = new RotaryEmbedding(config, config.MaxPositionEmbeddings, type, device);
        _weights = new Dictionary<string, Tensor>(StringComparer.Ordinal);
        try
        {
            foreach (var parameter in LlamaParameters.All(config))
            {
                var weight = load(parameter).DetachFromDisposeScope();
                _weights.Add(parameter.Name, weight);
                if (!weight.shape.AsSpan().SequenceEqual(parameter.Shape.AsSpan()) || weight.dtype != type)
                    throw new ArgumentException(
                        $"{parameter.Name} should be {type} [{string.Join(", ", parameter.Shape)}], found {weight.dtype} {TensorArgument.Shape(weight)}.",
                        nameof(load));
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Shape of the model.</summary>
    public ModelConfig Config { get; }

    /// <summary>The weights by Hugging Face name.</summary>
    public IReadOnlyDictionary<string, Tensor> Weights => _weights;

    /// <summary>A new model with initial weights (<see cref="LlamaInitializer"/>).</summary>
    public static LlamaModel Initialise(ModelConfig config, long seed, ScalarType type, Device device) =>
        new(config, parameter => LlamaInitializer.Create(config, parameter, parameter.Whole, seed, type).to(device), type, device);

    /// <summary>The model of a Hugging Face directory's safetensors files.</summary>
    /// <exception cref="Formats.ModelFormatException">The files do not hold the weights of this configuration.</exception>
    public static LlamaModel Load(ModelConfig config, string directory, ScalarType type, Device device)
    {
        using var files = LlamaWeightFiles.Open(directory);
        return new LlamaModel(config, parameter => files.Read(parameter, parameter.Whole, type).to(device), type, device);
    }

    /// <summary>Logits of every position of a batch of sequences that start at position 0.</summary>
    /// <param name="tokens_BT">Int64 token ids, each below the vocabulary's size.</param>
    /// <param name="withHiddenStates">Whether to return the residual stream as well.</param>
    public LlamaOutput Forward(Tensor tokens_BT, bool withHiddenStates)
    {
        TensorArgument.Integer(tokens_BT, nameof(tokens_BT));
        TensorArgument.Dimensions(tokens_BT, 2, nameof(tokens_BT));
        var hidden = new List<Tensor>();
        var x_BTE = Ops.Embedding(_weights[LlamaParameters.EmbeddingName], tokens_BT);
        for (var layer = 0; layer < Config.NumHiddenLayers; layer++)
        {
            if (withHiddenStates)
                hidden.Add(x_BTE);
            x_BTE = Layer(layer, x_BTE);
        }

        if (withHiddenStates)
            hidden.Add(x_BTE);
        var normalised = LlamaBlocks.Norm(x_BTE, _weights[LlamaParameters.FinalNormName], Config.RmsNormEps);
        return new LlamaOutput(LlamaBlocks.Linear(normalised, _weights[LlamaParameters.HeadName(Config)], null), hidden);
    }

    /// <summary>Mean cross-entropy, in the logits' type, of each position's target token.</summary>
    /// <param name="tokens_BT">Input tokens.</param>
    /// <param name="targets_BT">Int64 target of each position.</param>
    public Tensor Loss(Tensor tokens_BT, Tensor targets_BT)
    {
        ArgumentNullException.ThrowIfNull(targets_BT);
        var logits = Forward(tokens_BT, withHiddenStates: false).Logits_BTV;
        return torch.nn.functional.cross_entropy(logits.view(-1, Config.VocabSize), targets_BT.view(-1));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var weight in _weights.Values)
            weight.Dispose();
        _rotary.Dispose();
    }

    private Tensor Layer(int layer, Tensor x_BTE)
    {
        var normalised = LlamaBlocks.Norm(x_BTE, Weight(LlamaRole.InputNorm), Config.RmsNormEps);
        var attention = new AttentionWeights(
            Weight(LlamaRole.Query), Weight(LlamaRole.Key), Weight(LlamaRole.Value),
            Optional(LlamaRole.QueryBias), Optional(LlamaRole.KeyBias), Optional(LlamaRole.ValueBias),
            Optional(LlamaRole.QueryNorm), Optional(LlamaRole.KeyNorm));
        var attended = LlamaBlocks.AttentionCore(Config, normalised, attention, _rotary);
        x_BTE = x_BTE.Plus(LlamaBlocks.Linear(attended, Weight(LlamaRole.AttentionOutput), null));
        normalised = LlamaBlocks.Norm(x_BTE, Weight(LlamaRole.PostAttentionNorm), Config.RmsNormEps);
        return x_BTE.Plus(LlamaBlocks.Mlp(normalised, Weight(LlamaRole.Gate), Weight(LlamaRole.Up), Weight(LlamaRole.Down)));

        Tensor Weight(LlamaRole role) => _weights[LlamaParameters.NameOf(layer, role)];
        Tensor? Optional(LlamaRole role) => _weights.GetValueOrDefault(LlamaParameters.NameOf(layer, role));
    }
}
