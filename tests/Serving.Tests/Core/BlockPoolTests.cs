using Platform.Serving.Core.Blocks;

namespace Platform.Serving.Tests.Core;

public sealed class BlockPoolTests
{
    private static readonly BlockHash First = BlockHash.Root("tenant").Next([1, 2, 3, 4]);

    [Fact]
    public void Hands_out_every_block_once_and_then_none()
    {
        var pool = new BlockPool(3);
        var blocks = Enumerable.Range(0, 3).Select(_ => pool.TryAllocate()).ToHashSet();
        Assert.Equal([0, 1, 2], blocks.Order());
        Assert.Null(pool.TryAllocate());
        Assert.Equal((3, 0), (pool.UsedCount, pool.FreeCount));
    }

    [Fact]
    public void A_freed_block_keeps_its_published_content_until_it_is_handed_out_again()
    {
        var pool = new BlockPool(2);
        var block = pool.TryAllocate() ?? throw new InvalidOperationException();
        pool.Publish(block, First);
        pool.Release(block);
        Assert.Equal(2, pool.FreeCount);

        Assert.Equal(block, pool.TryShare(First));
        Assert.Equal(1, pool.FreeCount);
        pool.Release(block);
        pool.TryAllocate();
        pool.TryAllocate();
        Assert.Null(pool.TryShare(First));
    }

    [Fact]
    public void Forgets_the_content_freed_longest_ago_first_and_unpublished_blocks_before_all()
    {
        var pool = new BlockPool(3);
        int[] blocks = [.. Enumerable.Range(0, 3).Select(_ => pool.TryAllocate() ?? -1)];
        var second = First.Next([5, 6, 7, 8]);
        pool.Publish(blocks[2], First);
        pool.Publish(blocks[0], second);
        foreach (var block in new[] { blocks[2], blocks[0], blocks[1] })
            pool.Release(block);

        Assert.Equal([blocks[1], blocks[2], blocks[0]], Enumerable.Range(0, 3).Select(_ => pool.TryAllocate() ?? -1));
    }

    [Fact]
    public void Shared_blocks_are_free_only_when_the_last_owner_lets_go()
    {
        var pool = new BlockPool(1);
        var block = pool.TryAllocate() ?? -1;
        pool.Publish(block, First);
        Assert.Equal(block, pool.TryShare(First));
        pool.Release(block);
        Assert.Equal(0, pool.FreeCount);
        pool.Release(block);
        Assert.Equal(1, pool.FreeCount);
        Assert.Throws<InvalidOperationException>(() => pool.Release(block));
    }

    [Fact]
    public void Hashes_depend_on_tenant_prefix_and_tokens()
    {
        BlockHash[] hashes =
        [
            First, BlockHash.Root("other").Next([1, 2, 3, 4]), First.Next([1, 2, 3, 4]), BlockHash.Root("tenant").Next([1, 2, 3, 5]),
        ];
        Assert.Equal(hashes.Length, hashes.Distinct().Count());
        Assert.Equal(First, BlockHash.Root("tenant").Next([1, 2, 3, 4]));
    }
}
