namespace Platform.Core.Parallelism;

/// <summary>An axis of the mesh of ranks.</summary>
public enum MeshAxis
{
    /// <summary>Ranks that share each matrix.</summary>
    Tensor,

    /// <summary>Ranks that hold the same weights and see different data.</summary>
    Data,

    /// <summary>Ranks that hold successive layers.</summary>
    Pipeline,
}

/// <summary>A rank's place in the mesh, each coordinate from 0.</summary>
/// <param name="Tensor">Place in the tensor group.</param>
/// <param name="Pipeline">Stage.</param>
/// <param name="Data">Place in the data group.</param>
public readonly record struct MeshCoordinate(int Tensor, int Pipeline, int Data);

/// <summary>
/// The mesh of ranks, tensor fastest, then data, then pipeline (Megatron's order <c>tp-cp-ep-dp-pp</c>):
/// <c>rank = tp + TP·(dp + DP·pp)</c>.
/// </summary>
/// <param name="Tensor">Tensor-parallel width.</param>
/// <param name="Pipeline">Pipeline stages.</param>
/// <param name="Data">Data-parallel width.</param>
public sealed record DeviceMesh(int Tensor, int Pipeline, int Data)
{
    /// <summary>Number of ranks.</summary>
    public int WorldSize => Tensor * Pipeline * Data;

    /// <summary>The rank at a place.</summary>
    public int RankOf(MeshCoordinate at) => at.Tensor + (Tensor * (at.Data + (Data * at.Pipeline)));

    /// <summary>The place of a rank.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The rank is not in the mesh.</exception>
    public MeshCoordinate CoordinateOf(int rank)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(rank);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(rank, WorldSize);
        return new MeshCoordinate(rank % Tensor, rank / (Tensor * Data), rank / Tensor % Data);
    }

    /// <summary>Width along an axis.</summary>
    public int Width(MeshAxis axis) => axis switch
    {
        MeshAxis.Tensor => Tensor,
        MeshAxis.Data => Data,
        MeshAxis.Pipeline => Pipeline,
        _ => throw new ArgumentOutOfRangeException(nameof(axis)),
    };

    /// <summary>The ranks that differ from a rank only along one axis, in order of that axis, the rank itself included.</summary>
    public IReadOnlyList<int> GroupOf(int rank, MeshAxis axis)
    {
        var at = CoordinateOf(rank);
        return [.. Enumerable.Range(0, Width(axis)).Select(i => RankOf(axis switch
        {
            MeshAxis.Tensor => at with { Tensor = i },
            MeshAxis.Data => at with { Data = i },
            MeshAxis.Pipeline => at with { Pipeline = i },
            _ => throw new ArgumentOutOfRangeException(nameof(axis)),
        }))];
    }

    /// <summary>Every group along an axis, ordered by first rank; together they hold each rank once.</summary>
    public IReadOnlyList<IReadOnlyList<int>> Groups(MeshAxis axis) =>
        [.. Enumerable.Range(0, WorldSize).Select(rank => GroupOf(rank, axis)).DistinctBy(group => group[0])];
}
