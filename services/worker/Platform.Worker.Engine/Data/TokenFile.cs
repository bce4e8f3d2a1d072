using System.IO.MemoryMappedFiles;
using Platform.Torch.Parallel.Layers;

namespace Platform.Worker.Engine.Data;

/// <summary>
/// Tokenised text as one run of ids, mapped into memory. Sequence i of length T starts at token i·T; its targets are the
/// tokens one further, so the last token of a sequence's targets is the first input of the next. A second file may say for each
/// token whether it is learnt; a target that is not is <see cref="VocabularyParallelLoss.MaskedTarget"/>.
/// </summary>
/// <remarks>The file must not be shortened while it is open. Any number of threads may read.</remarks>
public sealed unsafe class TokenFile : IDisposable
{
    private readonly MappedBytes _tokens;
    private readonly MappedBytes? _learnt;
    private readonly int _tokenBytes;

    private TokenFile(MappedBytes tokens, MappedBytes? learnt, long count, int tokenBytes)
    {
        (_tokens, _learnt, _tokenBytes) = (tokens, learnt, tokenBytes);
        Count = count;
    }

    /// <summary>Number of tokens.</summary>
    public long Count { get; }

    /// <summary>Bytes per token that a vocabulary needs.</summary>
    public static int TokenBytes(int vocabularySize) => vocabularySize <= 1 << 16 ? 2 : 4;

    /// <summary>Opens a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="count">Tokens in it.</param>
    /// <param name="tokenBytes">2 or 4.</param>
    /// <param name="learntPath">A file of one byte per token, 0 for those that are not learnt; null when all are.</param>
    /// <exception cref="InputUnreadableException">It cannot be read or has another size.</exception>
    public static TokenFile Open(string path, long count, int tokenBytes, string? learntPath = null)
    {
        var tokens = MappedBytes.Open(path, count, tokenBytes);
        try
        {
            return new TokenFile(tokens, learntPath is null ? null : MappedBytes.Open(learntPath, count, 1), count, tokenBytes);
        }
        catch
        {
            tokens.Dispose();
            throw;
        }
    }

    /// <summary>Whole sequences of a length, each with its targets.</summary>
    public int Sequences(int length) => (int)Math.Min(int.MaxValue, (Count - 1) / length);

    /// <summary>Copies a sequence and its targets.</summary>
    /// <param name="index">Sequence, below <see cref="Sequences"/>.</param>
    /// <param name="tokens">Gets the inputs; its length is that of sequences.</param>
    /// <param name="targets">Gets the token after each input, or what stands for one that is not learnt; of the same length.</param>
    public void Read(int index, Span<long> tokens, Span<long> targets)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, Sequences(tokens.Length));
        ArgumentOutOfRangeException.ThrowIfNotEqual(targets.Length, tokens.Length);
        var first = (long)index * tokens.Length;
        for (var i = 0; i < tokens.Length; i++)
        {
            tokens[i] = At(first + i);
            targets[i] = IsLearnt(first + i + 1) ? At(first + i + 1) : VocabularyParallelLoss.MaskedTarget;
        }
    }

    /// <summary>Targets of a sequence that are learnt.</summary>
    /// <param name="index">Sequence, below <see cref="Sequences"/>.</param>
    /// <param name="length">Length of sequences.</param>
    public int Counted(int index, int length)
    {
        if (_learnt is null)
            return length;
        var first = ((long)index * length) + 1;
        var count = 0;
        for (var i = 0; i < length; i++)
            count += IsLearnt(first + i) ? 1 : 0;
        return count;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _tokens.Dispose();
        _learnt?.Dispose();
    }

    private bool IsLearnt(long position) => _learnt is null || _learnt.Start[position] != 0;

    private long At(long position) => _tokenBytes == 2 ? ((ushort*)_tokens.Start)[position] : ((uint*)_tokens.Start)[position];

    /// <summary>A whole file in memory.</summary>
    private sealed class MappedBytes : IDisposable
    {
        private readonly MemoryMappedFile _mapping;
        private readonly MemoryMappedViewAccessor _view;
        private byte* _start;

        private MappedBytes(MemoryMappedFile mapping, long length)
        {
            _mapping = mapping;
            _view = mapping.CreateViewAccessor(0, length, MemoryMappedFileAccess.Read);
            byte* start = null;
            _view.SafeMemoryMappedViewHandle.AcquirePointer(ref start);
            _start = start + _view.PointerOffset;
        }

        public byte* Start
        {
            get
            {
                ObjectDisposedException.ThrowIf(_start == null, this);
                return _start;
            }
        }

        public static MappedBytes Open(string path, long count, int elementBytes)
        {
            try
            {
                var length = new FileInfo(path).Length;
                if (length != count * elementBytes || count == 0)
                    throw new InputUnreadableException($"{path} has {length} bytes; {count} tokens of {elementBytes} bytes are expected.");
                return new MappedBytes(MemoryMappedFile.CreateFromFile(path, FileMode.Open, null, 0, MemoryMappedFileAccess.Read), length);
            }
            catch (Exception refused) when (refused is IOException or UnauthorizedAccessException)
            {
                throw new InputUnreadableException($"{path} cannot be read: {refused.Message}", refused);
            }
        }

        public void Dispose()
        {
            if (_start == null)
                return;
            _start = null;
            _view.SafeMemoryMappedViewHandle.ReleasePointer();
            _view.Dispose();
            _mapping.Dispose();
        }
    }
}
