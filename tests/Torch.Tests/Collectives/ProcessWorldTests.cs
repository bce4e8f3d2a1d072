using Xunit;

namespace Platform.Torch.Tests.Collectives;

/// <summary>Ranks as real processes.</summary>
public sealed class ProcessWorldTests : IDisposable
{
    private readonly DirectoryInfo directory = Directory.CreateTempSubdirectory("collectives-");

    public void Dispose() => directory.Delete(recursive: true);

    [Theory]
    [InlineData(8, 1)]
    [InlineData(4, 2)]
    public void Processes_get_the_bits_that_threads_of_one_process_get(int size, int nodes)
    {
        var expected = new string[size];
        RankThreads.Run(Fabric.Loopback.Create(size), world => expected[world.Rank] = ChildRank.Digest(world));
        var ranks = ChildRank.StartWorld(size, "digest", rank => $"node-{rank % nodes}", directory.FullName);
        try
        {
            Assert.Equal(expected, ranks.Select(rank => rank.ReadLine()));
        }
        finally
        {
            foreach (var rank in ranks)
                rank.Dispose();
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void A_killed_process_is_named_to_its_peers_long_before_the_timeout(int nodes)
    {
        var ranks = ChildRank.StartWorld(3, "reduce", rank => $"node-{rank % nodes}", directory.FullName);
        try
        {
            Assert.All(ranks, rank => Assert.Equal("running", rank.ReadLine()));
            ranks[1].Kill();
            foreach (var survivor in (int[])[0, 2])
            {
                var said = ranks[survivor].ReadToEnd();
                Assert.Contains("CollectiveAbortedException: ", said, StringComparison.Ordinal);
                Assert.Contains("rank 1 ", said, StringComparison.Ordinal);
                Assert.Contains("of data group 0", said, StringComparison.Ordinal);
            }
        }
        finally
        {
            foreach (var rank in ranks)
                rank.Dispose();
        }
        Assert.Empty(directory.GetFiles());
    }
}
