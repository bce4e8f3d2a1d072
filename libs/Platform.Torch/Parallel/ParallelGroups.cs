using Platform.Core.Parallelism;
using Platform.Torch.Collectives;

namespace Platform.Torch.Parallel;

/// <summary>
/// One rank's groups along the axes of the mesh. It owns the groups, not the world they were made in.
/// </summary>
public sealed class ParallelGroups : IDisposable
{
    private ParallelGroups(ICollectiveWorld world, DeviceMesh mesh, bool tiedStages)
    {
        Mesh = mesh;
        Coordinate = mesh.CoordinateOf(world.Rank);
        World = world.CreateGroup("world", [.. Enumerable.Range(0, mesh.WorldSize)]);
        Tensor = Along(MeshAxis.Tensor, "tensor");
        Data = Along(MeshAxis.Data, "data");
        Pipeline = Along(MeshAxis.Pipeline, "pipeline");
        var ends = mesh.GroupOf(world.Rank, MeshAxis.Pipeline);
        if (tiedStages && ends.Count > 1 && (Coordinate.Pipeline == 0 || Coordinate.Pipeline == mesh.Pipeline - 1))
            TiedEmbedding = world.CreateGroup($"embedding group {ends[0]}", [ends[0], ends[^1]]);

        ICollectiveGroup Along(MeshAxis axis, string name)
        {
            var groups = mesh.Groups(axis);
            var index = Enumerable.Range(0, groups.Count).First(i => groups[i].Contains(world.Rank));
            return world.CreateGroup($"{name} group {index}", groups[index]);
        }
    }

    /// <summary>The mesh.</summary>
    public DeviceMesh Mesh { get; }

    /// <summary>This rank's place.</summary>
    public MeshCoordinate Coordinate { get; }

    /// <summary>All ranks.</summary>
    public ICollectiveGroup World { get; }

    /// <summary>Ranks that share each matrix with this one.</summary>
    public ICollectiveGroup Tensor { get; }

    /// <summary>Ranks that hold the same weights and see other data.</summary>
    public ICollectiveGroup Data { get; }

    /// <summary>The stages this rank passes activations and gradients to and from; group rank = stage.</summary>
    public ICollectiveGroup Pipeline { get; }

    /// <summary>First and last stage, if both hold the tied embedding and this rank is on one of them.</summary>
    public ICollectiveGroup? TiedEmbedding { get; }

    /// <summary>This rank has the embedding.</summary>
    public bool IsFirstStage => Coordinate.Pipeline == 0;

    /// <summary>This rank has the head.</summary>
    public bool IsLastStage => Coordinate.Pipeline == Mesh.Pipeline - 1;

    /// <summary>Makes the groups; every rank of the world calls this with the same arguments.</summary>
    /// <param name="world">A world of as many ranks as the mesh.</param>
    /// <param name="mesh">The mesh.</param>
    /// <param name="tiedEmbedding">Embedding and head are one weight, so the two ends of the pipeline add up its gradients.</param>
    public static ParallelGroups Create(ICollectiveWorld world, DeviceMesh mesh, bool tiedEmbedding)
    {
        ArgumentNullException.ThrowIfNull(world);
        ArgumentNullException.ThrowIfNull(mesh);
        if (world.Size != mesh.WorldSize)
            throw new ArgumentException($"A mesh of {mesh.WorldSize} ranks does not fit a world of {world.Size}.", nameof(mesh));
        return new ParallelGroups(world, mesh, tiedEmbedding);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        TiedEmbedding?.Dispose();
        Pipeline.Dispose();
        Data.Dispose();
        Tensor.Dispose();
        World.Dispose();
    }
}
