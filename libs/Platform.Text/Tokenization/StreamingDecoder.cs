using System.Buffers;
using System.Text;

namespace Platform.Text.Tokenization;

/// <summary>
/// Decodes a stream of token ids piece by piece. What it returns, put together, is what
/// <see cref="ITextTokenizer.Decode"/> makes of all ids at once; a character whose bytes have not all arrived is held
/// back, so half a character is never returned. Each call costs as much as its token is long. For one stream and one
/// thread at a time.
/// </summary>
/// <param name="tokenizer">The tokenizer of the ids.</param>
/// <param name="skipSpecialTokens">Whether special tokens add nothing.</param>
public sealed class StreamingDecoder(ITextTokenizer tokenizer, bool skipSpecialTokens = true)
{
    private readonly byte[] _pending = new byte[4];
    private int _pendingCount;

    /// <summary>Takes one id and returns the text that is complete with it, often empty.</summary>
    public string Append(int id) => skipSpecialTokens && tokenizer.IsSpecial(id)
        ? ""
        : Decode(tokenizer.TokenBytes(id));

    /// <summary>Ends the stream: what is still held back comes out as U+FFFD. The decoder may then start anew.</summary>
    public string Flush()
    {
        var text = _pendingCount == 0 ? "" : "\uFFFD";
        _pendingCount = 0;
        return text;
    }

    private string Decode(ReadOnlySpan<byte> bytes)
    {
        Span<byte> joined = _pendingCount + bytes.Length <= 256 ? stackalloc byte[_pendingCount + bytes.Length] : new byte[_pendingCount + bytes.Length];
        _pending.AsSpan(0, _pendingCount).CopyTo(joined);
        bytes.CopyTo(joined[_pendingCount..]);
        var complete = joined.Length - IncompleteTail(joined);
        _pendingCount = joined.Length - complete;
        joined[complete..].CopyTo(_pending);
        return Encoding.UTF8.GetString(joined[..complete]);
    }

    /// <summary>Bytes at the end that begin a character which further bytes may complete: 0 to 3.</summary>
    private static int IncompleteTail(ReadOnlySpan<byte> bytes)
    {
        for (var length = Math.Min(3, bytes.Length); length > 0; length--)
        {
            var tail = bytes[^length..];
            if (Rune.DecodeFromUtf8(tail, out _, out var consumed) == OperationStatus.NeedMoreData && consumed == length)
            {
                return length;
            }
        }
        return 0;
    }
}
