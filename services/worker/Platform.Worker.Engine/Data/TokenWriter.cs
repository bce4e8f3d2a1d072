using System.Buffers.Binary;
using Platform.Formats.Storage;

namespace Platform.Worker.Engine.Data;

/// <summary>Writes the files of one shard of a data set.</summary>
internal sealed class TokenWriter : IDisposable
{
    private const int BlockTokens = 1 << 18;

    private readonly DurableFile _tokens;
    private readonly DurableFile? _learnt;
    private readonly int _tokenBytes;
    private readonly byte[] _tokenBlock;
    private readonly byte[] _learntBlock = new byte[BlockTokens];
    private int _pending;
    private long _documents;

    /// <summary>Starts a shard.</summary>
    /// <param name="directory">Directory of the data set.</param>
    /// <param name="shard">Number of the shard.</param>
    /// <param name="tokenBytes">2 or 4.</param>
    /// <param name="hasMask">Some tokens are not learnt.</param>
    public TokenWriter(string directory, int shard, int tokenBytes, bool hasMask)
    {
        FileName = $"tokens-{shard:D5}.bin";
        LearntFileName = hasMask ? $"learnt-{shard:D5}.bin" : null;
        _tokenBytes = tokenBytes;
        _tokenBlock = new byte[BlockTokens * tokenBytes];
        _tokens = DurableFile.Create(Path.Combine(directory, FileName));
        _learnt = LearntFileName is null ? null : DurableFile.Create(Path.Combine(directory, LearntFileName));
    }

    /// <summary>File of tokens.</summary>
    public string FileName { get; }

    /// <summary>File that says which tokens are learnt; null when all are.</summary>
    public string? LearntFileName { get; }

    /// <summary>Tokens so far.</summary>
    public long Tokens { get; private set; }

    /// <summary>Appends tokens.</summary>
    public void Append(ReadOnlySpan<int> ids, bool isLearnt)
    {
        foreach (var id in ids)
        {
            var place = _tokenBlock.AsSpan(_pending * _tokenBytes);
            if (_tokenBytes == 2)
                BinaryPrimitives.WriteUInt16LittleEndian(place, checked((ushort)id));
            else
                BinaryPrimitives.WriteInt32LittleEndian(place, id);
            _learntBlock[_pending++] = isLearnt ? (byte)1 : (byte)0;
            if (_pending == BlockTokens)
                Flush();
        }
    }

    /// <summary>Says that a document is complete.</summary>
    public void EndDocument() => _documents++;

    /// <summary>Makes the files appear.</summary>
    /// <param name="source">What the shard holds.</param>
    public DatasetShard Commit(string source)
    {
        Flush();
        _tokens.Commit();
        _learnt?.Commit();
        return new DatasetShard(source, FileName, LearntFileName, Tokens, _documents);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _tokens.Dispose();
        _learnt?.Dispose();
    }

    private void Flush()
    {
        RandomAccess.Write(_tokens.Handle, _tokenBlock.AsSpan(0, _pending * _tokenBytes), Tokens * _tokenBytes);
        if (_learnt is not null)
            RandomAccess.Write(_learnt.Handle, _learntBlock.AsSpan(0, _pending), Tokens);
        Tokens += _pending;
        _pending = 0;
    }
}
