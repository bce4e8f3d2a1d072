using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Platform.Formats.Safetensors;

/// <summary>
/// The header of a safetensors file, read and checked: a 64-bit little-endian length, that many bytes of JSON, then
/// the tensors' bytes without holes (huggingface/safetensors, README "Format").
/// </summary>
internal sealed class SafetensorsHeader
{
    /// <summary>Longest header the format allows, in bytes.</summary>
    internal const long MaxHeaderBytes = 100_000_000;

    private const string MetadataKey = "__metadata__";
    private const int MaxDims = 64;

    private SafetensorsHeader(IReadOnlyList<TensorEntry> tensors, IReadOnlyDictionary<string, string> metadata)
    {
        Tensors = tensors;
        Metadata = metadata;
    }

    /// <summary>In the order of their bytes in the file.</summary>
    internal IReadOnlyList<TensorEntry> Tensors { get; }

    internal IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>Length of the JSON, from the first eight bytes.</summary>
    internal static long ReadLength(string file, ReadOnlySpan<byte> firstBytes, long fileLength)
    {
        if (firstBytes.Length < 8)
        {
            throw new ModelFormatException(file, "", $"the file has {fileLength} bytes; a safetensors file starts with an 8-byte header length");
        }
        var length = BinaryPrimitives.ReadUInt64LittleEndian(firstBytes);
        if (length > MaxHeaderBytes)
        {
            throw new ModelFormatException(file, "", $"the header length is {length} bytes; at most {MaxHeaderBytes} are allowed");
        }
        if ((long)length > fileLength - 8)
        {
            throw new ModelFormatException(file, "", $"the header length is {length} bytes, but only {fileLength - 8} follow: the file is truncated");
        }
        return (long)length;
    }

    /// <summary>Parses the JSON and checks it against the length of the file.</summary>
    internal static SafetensorsHeader Parse(string file, ReadOnlySpan<byte> json, long fileLength)
    {
        if (json.IsEmpty || json[0] != (byte)'{')
        {
            throw new ModelFormatException(file, "", "the header does not start with '{'");
        }
        var tensors = new List<TensorEntry>();
        var metadata = new Dictionary<string, string>(StringComparer.Ordinal);
        try
        {
            ParseObject(file, json, tensors, metadata);
        }
        catch (JsonException e)
        {
            throw new ModelFormatException(file, "", $"the header is not valid JSON: {e.Message}", e);
        }
        catch (InvalidOperationException e)
        {
            // Utf8JsonReader.GetString on bytes that are not UTF-8, or on a lone surrogate escape.
            throw new ModelFormatException(file, "", $"the header holds a string that is not valid text: {e.Message}", e);
        }
        tensors.Sort((a, b) => a.FileOffset != b.FileOffset ? a.FileOffset.CompareTo(b.FileOffset) : a.ByteLength.CompareTo(b.ByteLength));
        CheckLayout(file, tensors, 8 + json.Length, fileLength);
        return new SafetensorsHeader(tensors, metadata);
    }

    private static void ParseObject(string file, ReadOnlySpan<byte> json, List<TensorEntry> tensors, Dictionary<string, string> metadata)
    {
        var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = 8 });
        var names = new HashSet<string>(StringComparer.Ordinal);
        reader.Read();
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var name = reader.GetString() ?? "";
            if (!names.Add(name))
            {
                throw new ModelFormatException(file, name, "the key appears twice in the header");
            }
            reader.Read();
            if (reader.TokenType != JsonTokenType.StartObject)
            {
                throw new ModelFormatException(file, name, $"found {reader.TokenType}; an object is expected");
            }
            if (name == MetadataKey)
            {
                ReadMetadata(file, ref reader, metadata);
            }
            else
            {
                tensors.Add(ReadTensor(file, name, 8L + json.Length, ref reader));
            }
        }
        if (reader.Read())
        {
            throw new ModelFormatException(file, "", "text follows the header's JSON object");
        }
    }

    private static void ReadMetadata(string file, ref Utf8JsonReader reader, Dictionary<string, string> metadata)
    {
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var key = reader.GetString() ?? "";
            reader.Read();
            if (reader.TokenType != JsonTokenType.String)
            {
                throw new ModelFormatException(file, $"{MetadataKey}.{key}", $"found {reader.TokenType}; metadata maps strings to strings");
            }
            if (!metadata.TryAdd(key, reader.GetString() ?? ""))
            {
                throw new ModelFormatException(file, $"{MetadataKey}.{key}", "the key appears twice");
            }
        }
    }

    private static TensorEntry ReadTensor(string file, string name, long dataStart, ref Utf8JsonReader reader)
    {
        string? typeName = null;
        List<long>? shape = null;
        List<long>? offsets = null;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var key = reader.GetString();
            reader.Read();
            switch (key)
            {
                case "dtype" when typeName is null && reader.TokenType == JsonTokenType.String:
                    typeName = reader.GetString();
                    break;
                case "shape" when shape is null:
                    shape = ReadNumbers(file, name, "shape", MaxDims, ref reader);
                    break;
                case "data_offsets" when offsets is null:
                    offsets = ReadNumbers(file, name, "data_offsets", 2, ref reader);
                    break;
                default:
                    throw new ModelFormatException(file, name, $"the key '{key}' is unknown, repeated or of the wrong kind; allowed are dtype, shape and data_offsets, once each");
            }
        }
        if (typeName is null || shape is null || offsets is null)
        {
            throw new ModelFormatException(file, name, "dtype, shape and data_offsets are all required");
        }
        if (!TensorDataTypes.TryParse(typeName, out var type))
        {
            throw new ModelFormatException(file, name, $"the dtype '{typeName}' is not supported; supported are {TensorDataTypes.AllowedNames}");
        }
        if (offsets.Count != 2 || offsets[0] > offsets[1])
        {
            throw new ModelFormatException(file, name, $"data_offsets are [{string.Join(", ", offsets)}]; a begin and an end that is not before it are expected");
        }
        return Entry(file, name, dataStart, type, TensorShape.Create([.. shape]), offsets[0], offsets[1]);
    }

    private static TensorEntry Entry(string file, string name, long dataStart, TensorDataType type, TensorShape shape, long begin, long end)
    {
        long expected;
        try
        {
            expected = shape.ByteLength(type);
            _ = checked(dataStart + end);
        }
        catch (OverflowException e)
        {
            throw new ModelFormatException(file, name, $"shape {shape} of {type.NameOf()} ending at {end} exceeds 64-bit sizes", e);
        }
        return end - begin == expected
            ? new TensorEntry(name, type, shape, dataStart + begin, expected)
            : throw new ModelFormatException(file, name, $"data_offsets span {end - begin} bytes, but shape {shape} of {type.NameOf()} takes {expected}");
    }

    private static List<long> ReadNumbers(string file, string name, string key, int max, ref Utf8JsonReader reader)
    {
        if (reader.TokenType != JsonTokenType.StartArray)
        {
            throw new ModelFormatException(file, name, $"{key} is {reader.TokenType}; an array is expected");
        }
        var numbers = new List<long>();
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            if (reader.TokenType != JsonTokenType.Number || !reader.TryGetInt64(out var number) || number < 0)
            {
                var found = reader.TokenType == JsonTokenType.Number ? Encoding.UTF8.GetString(reader.ValueSpan) : reader.TokenType.ToString();
                throw new ModelFormatException(file, name, $"{key} holds {found}; integers from 0 to {long.MaxValue} are allowed");
            }
            if (numbers.Count == max)
            {
                throw new ModelFormatException(file, name, $"{key} has more than {max.ToString(CultureInfo.InvariantCulture)} numbers");
            }
            numbers.Add(number);
        }
        return numbers;
    }

    /// <summary>The bytes after the header must be the tensors', each once, with nothing between or behind.</summary>
    private static void CheckLayout(string file, List<TensorEntry> tensors, long dataStart, long fileLength)
    {
        var position = dataStart;
        foreach (var tensor in tensors)
        {
            if (tensor.FileOffset < position)
            {
                throw new ModelFormatException(file, tensor.Name, $"its bytes start at {tensor.FileOffset - dataStart} and overlap another tensor's, which end at {position - dataStart}");
            }
            if (tensor.FileOffset > position)
            {
                throw new ModelFormatException(file, tensor.Name, $"its bytes start at {tensor.FileOffset - dataStart}, but the tensor before ends at {position - dataStart}: holes are not allowed");
            }
            position = tensor.FileOffset + tensor.ByteLength;
        }
        if (position > fileLength)
        {
            var last = tensors.First(tensor => tensor.FileOffset + tensor.ByteLength > fileLength);
            throw new ModelFormatException(file, last.Name, $"its bytes end at {last.FileOffset + last.ByteLength}, but the file has {fileLength}: the file is truncated");
        }
        if (position < fileLength)
        {
            throw new ModelFormatException(file, "", $"{fileLength - position} bytes follow the last tensor; none are allowed");
        }
    }
}
