using System.IO.MemoryMappedFiles;

namespace Platform.Worker.Engine.Data;

/// <summary>
/// Tokenised text as one run of ids, mapped into memory. Sequence i of length T starts at token i·T; its targets are the
/// tokens one further, so the last token of a sequence's targets is the first input of the next.
/// </summary>
/// <remarks>The file must not be shortened while it is open. Any number of threads may read.</remarks>
public sealed unsafe class TokenFile : IDisposable
{
    /// <summary>Name of the file in a data set's directory.</summary>
    public const string FileName = "tokens.bin";

    private readonly MemoryMappedFile _mapping;
    private readonly MemoryMappedViewAccessor _view;
    private readonly int _tokenBytes;
    private byte* _start;

    private TokenFile(MemoryMappedFile mapping, long count, int tokenBytes)
    {
        _mapping = mapping;
        _view = mapping.CreateViewAccessor(0, count * tokenBytes, MemoryMappedFileAccess.Read);
        _tokenBytes = tokenBytes;
        Count = count;
        byte* start = null;
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref start);
        _start = start + _view.PointerOffset;
    }

    /// <summary>Number of tokens.</summary>
    public long Count { get; }

    /// <summary>Bytes per token that a vocabulary needs.</summary>
    public static int TokenBytes(int vocabularySize) => vocabularySize <= 1 << 16 ? 2 : 4;

    /// <summary>Opens a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="count">Tokens in it.</param>
    /// <param name="tokenBytes">2 or 4.</param>
    /// <exception cref="InputUnreadableException">It cannot be read or has another size.</exception>
    public static TokenFile Open(string path, long count, int tokenBytes)
    {
        try
        {
            var length = new FileInfo(path).Length;
            if (length != count * tokenBytes || count == 0)
                throw new InputUnreadableException($"{path} has {length} bytes; {count} tokens of {tokenBytes} bytes are expected.");
            return new TokenFile(MemoryMappedFile.CreateFromFile(path, FileMode.Open, null, 0, MemoryMappedFileAccess.Read), count, tokenBytes);
        }
        catch (Exception refused) when (refused is IOException or UnauthorizedAccessException)
        {
            throw new InputUnreadableException($"{path} cannot be read: {refused.Message}", refused);
        }
    }

    /// <summary>Whole sequences of a length, each with its targets.</summary>
    public int Sequences(int length) => (int)Math.Min(int.MaxValue, (Count - 1) / length);

    /// <summary>Copies a sequence and its targets.</summary>
    /// <param name="index">Sequence, below <see cref="Sequences"/>.</param>
    /// <param name="tokens">Gets the inputs; its length is that of sequences.</param>
    /// <param name="targets">Gets the token after each input; of the same length.</param>
    public void Read(int index, Span<long> tokens, Span<long> targets)
    {
        ObjectDisposedException.ThrowIf(_start == null, this);
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, Sequences(tokens.Length));
        ArgumentOutOfRangeException.ThrowIfNotEqual(targets.Length, tokens.Length);
        var first = (long)index * tokens.Length;
        for (var i = 0; i < tokens.Length; i++)
        {
            tokens[i] = At(first + i);
            targets[i] = At(first + i + 1);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_start == null)
            return;
        _start = null;
        _view.SafeMemoryMappedViewHandle.ReleasePointer();
        _view.Dispose();
        _mapping.Dispose();
    }

    private long At(long position) => _tokenBytes == 2 ? ((ushort*)_start)[position] : ((uint*)_start)[position];
}
