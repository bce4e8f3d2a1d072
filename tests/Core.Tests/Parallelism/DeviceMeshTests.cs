using Platform.Core.Parallelism;
using Xunit;

namespace Platform.Core.Tests.Parallelism;

public sealed class DeviceMeshTests
{
    /// <summary>Every mesh up to 8 × 8 × 8.</summary>
    private static IEnumerable<DeviceMesh> Meshes() =>
        from tensor in Enumerable.Range(1, 8)
        from pipeline in Enumerable.Range(1, 8)
        from data in Enumerable.Range(1, 8)
        select new DeviceMesh(tensor, pipeline, data);

    [Fact]
    public void Ranks_and_coordinates_are_inverse()
    {
        foreach (var mesh in Meshes())
        {
            for (var rank = 0; rank < mesh.WorldSize; rank++)
                Assert.Equal(rank, mesh.RankOf(mesh.CoordinateOf(rank)));
        }
    }

    [Fact]
    public void Groups_of_every_axis_partition_the_world()
    {
        foreach (var mesh in Meshes())
        {
            foreach (var axis in Enum.GetValues<MeshAxis>())
            {
                var groups = mesh.Groups(axis);

                Assert.All(groups, group => Assert.Equal(mesh.Width(axis), group.Count));
                Assert.Equal(Enumerable.Range(0, mesh.WorldSize), groups.SelectMany(group => group).Order());
            }
        }
    }

    [Fact]
    public void Members_of_a_group_agree_on_it_and_two_axes_share_one_rank()
    {
        foreach (var mesh in Meshes().Where(mesh => mesh.WorldSize <= 64))
        {
            for (var rank = 0; rank < mesh.WorldSize; rank++)
            {
                foreach (var axis in Enum.GetValues<MeshAxis>())
                {
                    var group = mesh.GroupOf(rank, axis);
                    Assert.All(group, member => Assert.Equal(group, mesh.GroupOf(member, axis)));
                }

                Assert.Equal([rank], mesh.GroupOf(rank, MeshAxis.Tensor).Intersect(mesh.GroupOf(rank, MeshAxis.Data)));
                Assert.Equal([rank], mesh.GroupOf(rank, MeshAxis.Tensor).Intersect(mesh.GroupOf(rank, MeshAxis.Pipeline)));
                Assert.Equal([rank], mesh.GroupOf(rank, MeshAxis.Data).Intersect(mesh.GroupOf(rank, MeshAxis.Pipeline)));
            }
        }
    }

    [Fact]
    public void Tensor_neighbours_are_adjacent_ranks_and_stages_are_contiguous()
    {
        var mesh = new DeviceMesh(2, 2, 2);

        Assert.Equal([[0, 1], [2, 3], [4, 5], [6, 7]], mesh.Groups(MeshAxis.Tensor));
        Assert.Equal([[0, 2], [1, 3], [4, 6], [5, 7]], mesh.Groups(MeshAxis.Data));
        Assert.Equal([[0, 4], [1, 5], [2, 6], [3, 7]], mesh.Groups(MeshAxis.Pipeline));
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(8)]
    public void Refuses_a_rank_outside_the_mesh(int rank) =>
        Assert.Throws<ArgumentOutOfRangeException>(() => new DeviceMesh(2, 2, 2).CoordinateOf(rank));
}
