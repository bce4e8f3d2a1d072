using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace Platform.Worker.Engine.Data;

/// <summary>
/// Reads files of token ids. <c>.bin</c>: nothing but ids, little-endian, of 16 bits for tokenizers of up to 65,536 tokens and of
/// 32 bits for larger ones. <c>.npy</c>: a one-dimensional NumPy array of whole numbers (format 1.0 to 3.0 of
/// <c>numpy.lib.format</c>).
/// </summary>
internal static partial class TokenIdFiles
{
    private const int BlockElements = 1 << 18;

    /// <summary>Copies a file's ids.</summary>
    /// <param name="path">The file.</param>
    /// <param name="vocabularySize">Every id is below it.</param>
    /// <param name="writer">Takes the ids.</param>
    /// <param name="position">Told how many bytes have been read.</param>
    /// <exception cref="InputUnreadableException">The file cannot be read, is of another kind, or has an id out of range.</exception>
    public static void Copy(string path, int vocabularySize, TokenWriter writer, Action<long> position)
    {
        try
        {
            using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 16);
            var element = Path.GetExtension(path).ToUpperInvariant() switch
            {
                ".BIN" => new Element(TokenFile.TokenBytes(vocabularySize), 'u', false),
                ".NPY" => ReadHeader(path, stream),
                _ => throw new InputUnreadableException($"{path}: files of tokens end in .bin or .npy."),
            };
            if ((stream.Length - stream.Position) % element.Bytes != 0)
                throw new InputUnreadableException(
                    $"{path}: {stream.Length - stream.Position} bytes are no whole number of ids of {element.Bytes} bytes, which a tokenizer of {vocabularySize} tokens has.");
            Copy(path, stream, element, vocabularySize, writer, position);
            writer.EndDocument();
        }
        catch (Exception refused) when (refused is IOException or UnauthorizedAccessException)
        {
            throw new InputUnreadableException($"{path} cannot be read: {refused.Message}", refused);
        }
    }

    private static void Copy(string path, FileStream stream, Element element, int vocabularySize, TokenWriter writer, Action<long> position)
    {
        var block = new byte[BlockElements * element.Bytes];
        var ids = new int[BlockElements];
        long index = 0;
        for (int read; (read = stream.ReadAtLeast(block, block.Length, throwOnEndOfStream: false)) > 0;)
        {
            var count = read / element.Bytes;
            for (var i = 0; i < count; i++, index++)
            {
                var id = element.Read(block.AsSpan(i * element.Bytes));
                if (id < 0 || id >= vocabularySize)
                    throw new InputUnreadableException($"{path}: token {index} is {id}; the tokenizer has the ids 0 to {vocabularySize - 1}.");
                ids[i] = (int)id;
            }

            writer.Append(ids.AsSpan(0, count), isLearnt: true);
            position(stream.Position);
        }
    }

    private static Element ReadHeader(string path, FileStream stream)
    {
        Span<byte> start = stackalloc byte[8];
        stream.ReadExactly(start);
        if (start[0] != 0x93 || !start[1..6].SequenceEqual("NUMPY"u8))
            throw new InputUnreadableException($"{path}: this is not a NumPy file.");
        Span<byte> size = stackalloc byte[start[6] == 1 ? 2 : 4];
        stream.ReadExactly(size);
        var length = size.Length == 2 ? BinaryPrimitives.ReadUInt16LittleEndian(size) : BinaryPrimitives.ReadInt32LittleEndian(size);
        if (length is < 0 or > 1 << 20)
            throw new InputUnreadableException($"{path}: its header is damaged.");
        var header = new byte[length];
        stream.ReadExactly(header);
        var text = Encoding.Latin1.GetString(header);
        var type = TypeOf().Match(text);
        if (!type.Success)
            throw new InputUnreadableException($"{path}: its elements are no whole numbers; write them as uint16, uint32, int32 or int64.");
        if (!Flat().IsMatch(text))
            throw new InputUnreadableException($"{path}: it has several dimensions; one is expected.");
        return new Element(int.Parse(type.Groups[3].ValueSpan, CultureInfo.InvariantCulture), type.Groups[2].Value[0], type.Groups[1].Value == ">");
    }

    [GeneratedRegex(@"'descr':\s*'([<>|=])([ui])([1248])'")]
    private static partial Regex TypeOf();

    [GeneratedRegex(@"'shape':\s*\(\d+,\)")]
    private static partial Regex Flat();

    /// <summary>How an id is written.</summary>
    private readonly record struct Element(int Bytes, char Kind, bool IsBigEndian)
    {
        public long Read(ReadOnlySpan<byte> source)
        {
            ulong bits = 0;
            for (var i = 0; i < Bytes; i++)
                bits |= (ulong)source[IsBigEndian ? Bytes - 1 - i : i] << (8 * i);
            var unused = 64 - (8 * Bytes);
            return Kind == 'i' ? (long)(bits << unused) >> unused : bits > long.MaxValue ? long.MaxValue : (long)bits;
        }
    }
}
