namespace Platform.Formats.Safetensors;

/// <summary>One tensor of a safetensors file: what the header says of it, checked.</summary>
/// <param name="Name">Its name.</param>
/// <param name="DataType">Element type.</param>
/// <param name="Shape">Sizes of its dims, row-major; empty for a scalar.</param>
/// <param name="FileOffset">First byte, counted from the start of the file.</param>
/// <param name="ByteLength">Number of bytes.</param>
public sealed record TensorEntry(string Name, TensorDataType DataType, TensorShape Shape, long FileOffset, long ByteLength);
