using Platform.Torch.Models.Llama;
using Platform.Torch.Native;
using TorchSharp;
using ScalarType = TorchSharp.torch.ScalarType;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Parallel.Parameters;

/// <summary>Number formats of a training run.</summary>
/// <param name="Compute">Type of weights and activations.</param>
/// <param name="Master">Type of master weights, gradients, moments and losses.</param>
public readonly record struct TrainingTypes(ScalarType Compute, ScalarType Master)
{
    /// <summary>bf16 with fp32 masters.</summary>
    public static TrainingTypes BFloat16 { get; } = new(ScalarType.BFloat16, ScalarType.Float32);

    /// <summary>fp32 throughout.</summary>
    public static TrainingTypes Float32 { get; } = new(ScalarType.Float32, ScalarType.Float32);

    /// <summary>fp64 throughout.</summary>
    public static TrainingTypes Float64 { get; } = new(ScalarType.Float64, ScalarType.Float64);
}

/// <summary>A tensor of the rank: views into the store's memory, owned by the store.</summary>
/// <param name="Bundle">What it is.</param>
/// <param name="Offset">First element in the store's flat tensors; of a frozen tensor, in those of the frozen ones.</param>
/// <param name="Weight">Weight in the compute type, to be read by layers.</param>
/// <param name="Gradient">Sum of gradients in the master type, to be added to by layers; null when the tensor is frozen.</param>
public sealed record StoredParameter(ParameterBundle Bundle, long Offset, Tensor Weight, Tensor? Gradient);

/// <summary>One of the four copies of every weight.</summary>
public enum StateKind
{
    /// <summary>Master weights.</summary>
    Master,

    /// <summary>First moments of the optimizer.</summary>
    FirstMoment,

    /// <summary>Second moments of the optimizer.</summary>
    SecondMoment,

    /// <summary>Gradients.</summary>
    Gradient,
}

/// <summary>
/// The memory of a rank's weights, gradients and optimizer state: one flat tensor each, in one order, so that reductions,
/// norms and updates are a few large operations. Matrices come before vectors (which take no weight decay), and among each
/// the elements that this rank counts come first. Gaps between tensors, for alignment, stay zero. Frozen tensors have only
/// their weights in the compute type, in a memory of their own.
/// </summary>
public sealed class ParameterStore : IDisposable
{
    private const int AlignmentElements = 32;
    private readonly Tensor _working;
    private readonly Tensor _frozen;

    /// <summary>Allocates everything, filled with zeros.</summary>
    public ParameterStore(StageLayout layout, TrainingTypes types)
    {
        ArgumentNullException.ThrowIfNull(layout);
        NativeRuntime.EnsureLoaded();
        Layout = layout;
        Types = types;
        var ordered = layout.Bundles.Where(bundle => bundle.IsTrained)
            .OrderBy(bundle => bundle.Decays ? 0 : 1).ThenBy(bundle => layout.Owns(bundle) ? 0 : 1).ThenBy(bundle => bundle.HasPartialGradient ? 1 : 0).ToList();
        var frozen = layout.Bundles.Where(bundle => !bundle.IsTrained).ToList();
        var (offsets, end) = Place(ordered);
        var (frozenOffsets, frozenEnd) = Place(frozen);
        DecayedElements = Place(ordered.TakeWhile(bundle => bundle.Decays)).End;

        Master = Zeros(types.Master, end);
        Gradient = Zeros(types.Master, end);
        FirstMoment = Zeros(types.Master, end);
        SecondMoment = Zeros(types.Master, end);
        _working = types.Compute == types.Master ? Master : Zeros(types.Compute, end);
        _frozen = Zeros(types.Compute, frozenEnd);
        Trained = [.. ordered.Select((bundle, i) => new StoredParameter(
            bundle, offsets[i], View(_working, offsets[i], bundle), View(Gradient, offsets[i], bundle)))];
        Parameters = [.. Trained, .. frozen.Select((bundle, i) => new StoredParameter(
            bundle, frozenOffsets[i], View(_frozen, frozenOffsets[i], bundle), null))];
    }

    /// <summary>What is stored.</summary>
    public StageLayout Layout { get; }

    /// <summary>Number formats.</summary>
    public TrainingTypes Types { get; }

    /// <summary>All tensors: the trained ones in the order of their memory, then the frozen ones.</summary>
    public IReadOnlyList<StoredParameter> Parameters { get; }

    /// <summary>Tensors that are trained, in the order of their memory.</summary>
    public IReadOnlyList<StoredParameter> Trained { get; }

    /// <summary>Master weights [n].</summary>
    public Tensor Master { get; }

    /// <summary>Gradients [n].</summary>
    public Tensor Gradient { get; }

    /// <summary>First moments [n].</summary>
    public Tensor FirstMoment { get; }

    /// <summary>Second moments [n].</summary>
    public Tensor SecondMoment { get; }

    /// <summary>The first so many elements take weight decay.</summary>
    public long DecayedElements { get; }

    /// <summary>A tensor by role.</summary>
    public StoredParameter Find(BundleRole role, int? layer) =>
        Parameters.Single(parameter => parameter.Bundle.Role == role && parameter.Bundle.Layer == layer);

    /// <summary>Sets the weights to their initial values and the rest to zero.</summary>
    public void Initialise(long seed) =>
        Fill(part => LlamaInitializer.Create(Layout.Config, part.Parameter, part.Slice, seed, Types.Master));

    /// <summary>Sets the weights to those of a model's files, adapters to their initial values, and the rest to zero.</summary>
    /// <param name="files">Files with every weight of the model; this rank reads its slices.</param>
    /// <param name="seed">Seed of the adapters.</param>
    /// <exception cref="Formats.ModelFormatException">A weight is missing or has another shape than the model's.</exception>
    public void Load(LlamaWeightFiles files, long seed)
    {
        ArgumentNullException.ThrowIfNull(files);
        Fill(part => part.Parameter.IsAdapter
            ? LlamaInitializer.Create(Layout.Config, part.Parameter, part.Slice, seed, Types.Master)
            : files.Read(part.Parameter, part.Slice, Types.Master));
    }

    private void Fill(Func<BundlePart, Tensor> valueOf)
    {
        using var scope = torch.NewDisposeScope();
        using var withoutGradients = torch.no_grad();
        FirstMoment.zero_();
        SecondMoment.zero_();
        Gradient.zero_();
        foreach (var parameter in Parameters)
        {
            foreach (var part in parameter.Bundle.Parts)
            {
                using var value = valueOf(part);
                using var place = PartView(StateKind.Master, parameter, part);
                using var existing = value.narrow(part.Slice.Dimension, 0, part.Slice.Length);
                place.copy_(existing);
            }
        }

        PublishMasters();
    }

    /// <summary>Rounds the master weights to the compute type; call it after every change of them.</summary>
    public void PublishMasters()
    {
        if (ReferenceEquals(_working, Master))
            return;
        using var withoutGradients = torch.no_grad();
        _working.copy_(Master);
    }

    /// <summary>
    /// The elements of one part of a bundle that exist in the whole weight, without padding: a view of shape [rows, ...] that
    /// the caller disposes. Of a frozen tensor there is only the weight, in the compute type.
    /// </summary>
    public Tensor PartView(StateKind kind, StoredParameter parameter, BundlePart part)
    {
        ArgumentNullException.ThrowIfNull(parameter);
        ArgumentNullException.ThrowIfNull(part);
        var flat = kind switch
        {
            _ when parameter.Gradient is null => kind == StateKind.Master
                ? _frozen
                : throw new ArgumentException($"The frozen {parameter.Bundle.Role} has no state but its weight.", nameof(kind)),
            StateKind.Master => Master,
            StateKind.FirstMoment => FirstMoment,
            StateKind.SecondMoment => SecondMoment,
            StateKind.Gradient => Gradient,
            _ => throw new ArgumentOutOfRangeException(nameof(kind)),
        };
        using var scope = torch.NewDisposeScope();
        return flat.narrow(0, parameter.Offset, parameter.Bundle.ElementCount).view([.. parameter.Bundle.Shape])
            .narrow(0, part.LocalStart, part.LocalShape[0])
            .narrow(part.Slice.Dimension, 0, part.Slice.Length)
            .MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var parameter in Parameters)
        {
            parameter.Weight.Dispose();
            parameter.Gradient?.Dispose();
        }

        _frozen.Dispose();
        _working.Dispose();
        SecondMoment.Dispose();
        FirstMoment.Dispose();
        Gradient.Dispose();
        Master.Dispose();
    }

    private static (List<long> Offsets, long End) Place(IEnumerable<ParameterBundle> bundles)
    {
        var offsets = new List<long>();
        long end = 0;
        foreach (var bundle in bundles)
        {
            offsets.Add(end);
            end += (bundle.ElementCount + AlignmentElements - 1) / AlignmentElements * AlignmentElements;
        }

        return (offsets, end);
    }

    private static Tensor Zeros(ScalarType type, long count) =>
        torch.zeros([count], dtype: type, device: torch.CPU).DetachFromDisposeScope();

    private static Tensor View(Tensor flat, long offset, ParameterBundle bundle)
    {
        using var scope = torch.NewDisposeScope();
        return flat.narrow(0, offset, bundle.ElementCount).view([.. bundle.Shape]).DetachFromDisposeScope();
    }
}
