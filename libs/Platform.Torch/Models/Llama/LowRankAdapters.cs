using System.Collections.Immutable;
using Platform.Core.Models;

namespace Platform.Torch.Models.Llama;

/// <summary>
/// Low-rank adapters of a model's projections (LoRA, Hu et al. 2021): a projection W becomes <c>W + α/r · B·A</c> with
/// A [r, inputs] and B [outputs, r]; only A and B are trained.
/// </summary>
/// <param name="Rank">r.</param>
/// <param name="Alpha">α.</param>
/// <param name="Targets">Projections of every layer that have one.</param>
public sealed record LowRankAdapters(int Rank, double Alpha, ImmutableHashSet<LlamaRole> Targets)
{
    /// <summary>What PEFT puts before the name of a tensor of the base model.</summary>
    public const string NamePrefix = "base_model.model.";

    /// <summary>Projections that can have an adapter, by the names that job files and PEFT give them.</summary>
    public static ImmutableSortedDictionary<string, LlamaRole> Projections { get; } = new Dictionary<string, LlamaRole>
    {
        ["q_proj"] = LlamaRole.Query,
        ["k_proj"] = LlamaRole.Key,
        ["v_proj"] = LlamaRole.Value,
        ["o_proj"] = LlamaRole.AttentionOutput,
        ["gate_proj"] = LlamaRole.Gate,
        ["up_proj"] = LlamaRole.Up,
        ["down_proj"] = LlamaRole.Down,
    }.ToImmutableSortedDictionary(StringComparer.Ordinal);

    /// <summary>α/r.</summary>
    public double Scale => Alpha / Rank;

    /// <summary>Names of the targets, in alphabetical order.</summary>
    public IEnumerable<string> TargetNames => Projections.Where(pair => Targets.Contains(pair.Value)).Select(pair => pair.Key);

    /// <summary>Adapters of projections by name.</summary>
    /// <exception cref="ArgumentException">A name is none of <see cref="Projections"/>.</exception>
    public static LowRankAdapters Create(int rank, double alpha, IEnumerable<string> targets) => new(
        rank, alpha, [.. targets.Select(name => Projections.TryGetValue(name, out var role)
            ? role
            : throw new ArgumentException($"'{name}' cannot have an adapter; {string.Join(", ", Projections.Keys)} can.", nameof(targets)))]);

    /// <summary>The two factors of a projection's adapter, under the names that PEFT gives them.</summary>
    /// <remarks>
    /// In a tensor group the side that the projection does not cut is held whole by every rank, and each rank has only a part of
    /// the sum that is its gradient.
    /// </remarks>
    /// <param name="projection">The weight of the projection.</param>
    public (LlamaParameter A, LlamaParameter B) FactorsOf(LlamaParameter projection)
    {
        ArgumentNullException.ThrowIfNull(projection);
        const string suffix = ".weight";
        if (!projection.IsMatrix || !projection.Name.EndsWith(suffix, StringComparison.Ordinal))
            throw new ArgumentException($"{projection.Name} is not a projection.", nameof(projection));
        var name = NamePrefix + projection.Name[..^suffix.Length];
        var isRow = projection.Split == TensorSplit.Row;
        return (
            new(
                name + ".lora_A.weight", [Rank, projection.Shape[1]], LlamaRole.AdapterA,
                isRow ? TensorSplit.Row : TensorSplit.Replicated, projection.Position),
            new(
                name + ".lora_B.weight", [projection.Shape[0], Rank], LlamaRole.AdapterB,
                isRow ? TensorSplit.Replicated : TensorSplit.Column, projection.Position));
    }

    /// <summary>The factors of all adapters of a model, layer by layer.</summary>
    public IEnumerable<LlamaParameter> FactorsOf(ModelConfig config) =>
        from parameter in LlamaParameters.All(config)
        where Targets.Contains(parameter.Role)
        let factors = FactorsOf(parameter)
        from factor in new[] { factors.A, factors.B }
        select factor;
}
