namespace Platform.Serving.Core.Blocks;

/// <summary>
/// The blocks of the key/value cache: who owns them, which are free, and which free ones still hold a known prefix. A block
/// is used while its reference count is positive. A free block that was published keeps its content until it is handed out
/// again; blocks freed longest ago go first, and those without a published content before all others. Not thread-safe.
/// </summary>
public sealed class BlockPool
{
    private readonly int[] _references;
    private readonly BlockHash?[] _hashes;
    private readonly Dictionary<BlockHash, int> _published = [];

    // Free blocks as a doubly linked list with a sentinel at index _references.Length: next is the one to hand out first.
    private readonly int[] _next;
    private readonly int[] _previous;

    /// <summary>A pool with all blocks free.</summary>
    /// <param name="blockCount">Blocks of the cache; at least one.</param>
    public BlockPool(int blockCount)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(blockCount, 1);
        _references = new int[blockCount];
        _hashes = new BlockHash?[blockCount];
        _next = new int[blockCount + 1];
        _previous = new int[blockCount + 1];
        for (var i = 0; i <= blockCount; i++)
        {
            _next[i] = (i + 1) % (blockCount + 1);
            _previous[_next[i]] = i;
        }

        FreeCount = blockCount;
    }

    /// <summary>All blocks.</summary>
    public int TotalCount => _references.Length;

    /// <summary>Blocks without an owner, whether or not they still hold a prefix.</summary>
    public int FreeCount { get; private set; }

    /// <summary>Blocks with at least one owner.</summary>
    public int UsedCount => TotalCount - FreeCount;

    private int Sentinel => _references.Length;

    /// <summary>Owners of a block.</summary>
    public int ReferenceCount(int block) => _references[block];

    /// <summary>Whether a block's content is known under a hash, so that others may share it read-only.</summary>
    public bool IsPublished(int block) => _hashes[block] is not null;

    /// <summary>Hands out a free block with one owner; its former content is forgotten. Null when none is free.</summary>
    public int? TryAllocate()
    {
        if (FreeCount == 0)
            return null;
        var block = _next[Sentinel];
        Unlink(block);
        if (_hashes[block] is { } hash)
        {
            _published.Remove(hash);
            _hashes[block] = null;
        }

        _references[block] = 1;
        return block;
    }

    /// <summary>Adds an owner to the block that holds this content; null when no block does.</summary>
    public int? TryShare(BlockHash hash)
    {
        if (!_published.TryGetValue(hash, out var block))
            return null;
        if (_references[block]++ == 0)
            Unlink(block);
        return block;
    }

    /// <summary>
    /// Makes a used block's complete content known. From then on nobody may write to it. When another block already has the
    /// same content, that one stays the shared copy and this one remains private.
    /// </summary>
    public void Publish(int block, BlockHash hash)
    {
        if (_references[block] == 0)
            throw new InvalidOperationException($"Block {block} is free and cannot be published.");
        if (_hashes[block] is null && _published.TryAdd(hash, block))
            _hashes[block] = hash;
    }

    /// <summary>Takes one owner away.</summary>
    public void Release(int block)
    {
        if (_references[block] == 0)
            throw new InvalidOperationException($"Block {block} is free already.");
        if (--_references[block] > 0)
            return;
        // Blocks without a known content are handed out first, the others in the order in which they became free.
        var after = _hashes[block] is null ? Sentinel : _previous[Sentinel];
        var before = _next[after];
        (_next[after], _previous[block]) = (block, after);
        (_next[block], _previous[before]) = (before, block);
        FreeCount++;
    }

    /// <summary>Forgets every published content; all blocks must be free.</summary>
    public void Forget()
    {
        if (UsedCount > 0)
            throw new InvalidOperationException($"{UsedCount} blocks are in use; their content cannot be forgotten.");
        _published.Clear();
        Array.Clear(_hashes);
    }

    private void Unlink(int block)
    {
        _next[_previous[block]] = _next[block];
        _previous[_next[block]] = _previous[block];
        FreeCount--;
    }
}
