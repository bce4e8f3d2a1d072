using System.Text.Json;
using System.Text.Json.Serialization;
using Platform.Formats.Safetensors;

namespace Platform.Formats.Checkpoints;

/// <summary>A shape as an array of integers.</summary>
internal sealed class TensorShapeJsonConverter : JsonConverter<TensorShape>
{
    private const int MaxDims = 64;

    public override TensorShape Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        if (reader.TokenType != JsonTokenType.StartArray)
        {
            throw new JsonException($"found {reader.TokenType}; an array of integers is expected");
        }
        var dims = new List<long>();
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            if (reader.TokenType != JsonTokenType.Number || !reader.TryGetInt64(out var dim) || dim < 0 || dims.Count == MaxDims)
            {
                throw new JsonException($"at most {MaxDims} integers from 0 on are expected");
            }
            dims.Add(dim);
        }
        return TensorShape.Create([.. dims]);
    }

    public override void Write(Utf8JsonWriter writer, TensorShape value, JsonSerializerOptions options)
    {
        writer.WriteStartArray();
        foreach (var dim in value)
        {
            writer.WriteNumberValue(dim);
        }
        writer.WriteEndArray();
    }
}

/// <summary>An element type by its name in safetensors.</summary>
internal sealed class TensorDataTypeJsonConverter : JsonConverter<TensorDataType>
{
    public override TensorDataType Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
        reader.TokenType == JsonTokenType.String && TensorDataTypes.TryParse(reader.GetString() ?? "", out var type)
            ? type
            : throw new JsonException($"a dtype is expected: {TensorDataTypes.AllowedNames}");

    public override void Write(Utf8JsonWriter writer, TensorDataType value, JsonSerializerOptions options) => writer.WriteStringValue(value.NameOf());
}
