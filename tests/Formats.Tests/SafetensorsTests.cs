using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using CsCheck;
using Platform.Formats.Safetensors;
using Xunit;

namespace Platform.Formats.Tests;

public sealed class SafetensorsTests : IDisposable
{
    private readonly TemporaryDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void What_is_written_is_read_back()
    {
        var path = _directory["model.safetensors"];
        float[] weights = [1.5f, -2f, float.NaN, 4f, 5f, 6f];
        using (var writer = SafetensorsWriter.Create(
            path,
            [new("byte", TensorDataType.U8, [3]), new("w", TensorDataType.F32, [2, 3]), new("scalar", TensorDataType.F64, []), new("empty", TensorDataType.BF16, [0, 7])],
            new Dictionary<string, string> { ["format"] = "pt" },
            hashTensors: true))
        {
            writer.Write("w", MemoryMarshal.AsBytes(weights.AsSpan(0, 2)));
            writer.Write("byte", [7, 8, 9]);
            writer.Write("scalar", BitConverter.GetBytes(0.25));
            writer.Write("w", MemoryMarshal.AsBytes(weights.AsSpan(2)));
            Assert.False(File.Exists(path));
            var hashes = writer.Commit();
            Assert.Equal(Convert.ToHexStringLower(SHA256.HashData(MemoryMarshal.AsBytes(weights.AsSpan()))), hashes["w"]);
        }
        using var file = SafetensorsFile.Open(path);
        Assert.Equal(["scalar", "w", "empty", "byte"], file.Tensors.OrderBy(t => t.FileOffset).ThenBy(t => t.ByteLength == 0 ? 0 : 1).Select(t => t.Name));
        Assert.Equal("pt", file.Metadata["format"]);
        Assert.Equal(weights, MemoryMarshal.Cast<byte, float>(file.Span("w")).ToArray());
        Assert.Equal(new byte[] { 7, 8, 9 }, file.Span("byte").ToArray());
        Assert.Equal([], file.Entry("scalar").Shape);
        Assert.Equal([0, 7], file.Entry("empty").Shape);
        Assert.Equal(Convert.ToHexStringLower(SHA256.HashData(MemoryMarshal.AsBytes(weights.AsSpan()))), file.Sha256("w"));
        Assert.All(file.Tensors, tensor => Assert.Equal(0, tensor.FileOffset % tensor.DataType.SizeInBytes()));
        Assert.Contains("no such tensor", Assert.Throws<ModelFormatException>(() => file.Entry("v")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_writer_that_is_not_committed_leaves_nothing()
    {
        using (var writer = SafetensorsWriter.Create(_directory["a.safetensors"], [new("w", TensorDataType.F32, [2])]))
        {
            writer.Write("w", new byte[4]);
            Assert.Contains("only 4 were written", Assert.Throws<InvalidOperationException>(() => writer.Commit()).Message, StringComparison.Ordinal);
            Assert.Throws<ArgumentException>(() => writer.Write("w", new byte[5]));
            Assert.Throws<ArgumentException>(() => writer.Write("x", new byte[1]));
        }
        Assert.Empty(Directory.EnumerateFileSystemEntries(_directory.Path));
    }

    [Fact]
    public void A_file_is_replaced_whole_while_the_old_one_is_still_mapped()
    {
        var path = _directory["a.safetensors"];
        WriteOne(path, 1);
        using var old = SafetensorsFile.Open(path);
        WriteOne(path, 2);
        using var fresh = SafetensorsFile.Open(path);
        Assert.Equal(1, old.Span("w")[0]);
        Assert.Equal(2, fresh.Span("w")[0]);
    }

    public static TheoryData<string, string, int, string> HostileHeaders => new()
    {
        { "overlap", """{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}""", 6, "overlap" },
        { "hole", """{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}}""", 6, "holes" },
        { "hole at the start", """{"a":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}""", 4, "holes" },
        { "truncated", """{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}""", 3, "truncated" },
        { "trailing bytes", """{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}""", 5, "follow the last tensor" },
        { "repeated tensor", """{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}""", 2, "twice" },
        { "repeated key", """{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}""", 1, "repeated" },
        { "wrong size", """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}""", 4, "takes 8" },
        { "overflow", """{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}""", 4, "64-bit" },
        { "overflow to nothing", """{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}""", 0, "64-bit" },
        { "negative", """{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}""", 1, "-1" },
        { "end before begin", """{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}""", 1, "not before" },
        { "offset beyond 63 bits", """{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,18446744073709551615]}}""", 1, "integers" },
        { "fraction", """{"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}}""", 1, "integers" },
        { "unknown type", """{"a":{"dtype":"Q4","shape":[1],"data_offsets":[0,1]}}""", 1, "Q4" },
        { "missing key", """{"a":{"dtype":"U8","shape":[1]}}""", 0, "required" },
        { "unknown key", """{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}}""", 1, "'x'" },
        { "metadata of another kind", """{"__metadata__":{"a":1}}""", 0, "strings to strings" },
        { "not an object", """[]""", 0, "'{'" },
        { "bad JSON", """{"a":}""", 0, "JSON" },
        { "lone surrogate", """{"\ud800":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}""", 1, "text" },
    };

    [Theory]
    [MemberData(nameof(HostileHeaders))]
    public void A_hostile_header_is_refused_with_its_reason(string name, string header, int dataBytes, string reason)
    {
        var path = _directory["hostile.safetensors"];
        File.WriteAllBytes(path, [.. Length((ulong)header.Length), .. Encoding.UTF8.GetBytes(header), .. new byte[dataBytes]]);
        var error = Assert.Throws<ModelFormatException>(() => SafetensorsFile.Open(path));
        Assert.Contains(reason, error.Message, StringComparison.Ordinal);
        Assert.True(error.File == path, name);
    }

    [Theory]
    [InlineData(0, "8-byte")]
    [InlineData(7, "8-byte")]
    public void A_file_shorter_than_its_length_field_is_refused(int bytes, string reason)
    {
        var path = _directory["short.safetensors"];
        File.WriteAllBytes(path, new byte[bytes]);
        Assert.Contains(reason, Assert.Throws<ModelFormatException>(() => SafetensorsFile.Open(path)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(100_000_001UL, "100000000")]
    [InlineData(ulong.MaxValue, "100000000")]
    [InlineData(50UL, "truncated")]
    [InlineData(0UL, "'{'")]
    public void A_header_length_is_bounded(ulong length, string reason)
    {
        var path = _directory["length.safetensors"];
        File.WriteAllBytes(path, [.. Length(length), .. "{}"u8]);
        Assert.Contains(reason, Assert.Throws<ModelFormatException>(() => SafetensorsFile.Open(path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Any_mutation_of_a_file_is_read_or_refused_but_never_crashes()
    {
        var path = _directory["good.safetensors"];
        using (var writer = SafetensorsWriter.Create(path, [new("a", TensorDataType.F32, [2, 2]), new("b", TensorDataType.I8, [3])], new Dictionary<string, string> { ["k"] = "v" }))
        {
            writer.Write("a", new byte[16]);
            writer.Write("b", new byte[3]);
            writer.Commit();
        }
        var good = File.ReadAllBytes(path);
        var mutated = _directory["mutated.safetensors"];
        Gen.Select(Gen.Int[0, good.Length - 1], Gen.Byte, Gen.Int[0, 3], Gen.Int[1, 8]).Array[1, 4].Sample(
            edits =>
            {
                var bytes = new List<byte>(good);
                foreach (var (at, value, kind, count) in edits)
                {
                    var place = Math.Min(at, Math.Max(0, bytes.Count - 1));
                    switch (kind)
                    {
                        case 0 when bytes.Count > 0: bytes[place] = value; break;
                        case 1: bytes.InsertRange(place, Enumerable.Repeat(value, count)); break;
                        case 2: bytes.RemoveRange(place, Math.Min(count, bytes.Count - place)); break;
                        default: bytes.RemoveRange(place, bytes.Count - place); break;
                    }
                }
                File.WriteAllBytes(mutated, [.. bytes]);
                try
                {
                    using var file = SafetensorsFile.Open(mutated);
                    foreach (var tensor in file.Tensors)
                    {
                        Assert.Equal(tensor.ByteLength, file.Span(tensor.Name).Length);
                        file.Sha256(tensor.Name);
                    }
                }
                catch (ModelFormatException)
                {
                }
            },
            iter: 3000,
            threads: 1);
    }

    [Fact]
    public void A_tensor_beyond_two_gigabytes_is_read_by_pointer()
    {
        // The file is sparse: it takes no space on the disk.
        const long Bytes = 3L << 30;
        var header = "{\"big\":{\"dtype\":\"U8\",\"shape\":[" + Bytes + "],\"data_offsets\":[0," + Bytes + "]}}";
        var path = _directory["big.safetensors"];
        using (var stream = File.Create(path))
        {
            stream.Write(Length((ulong)header.Length));
            stream.Write(Encoding.UTF8.GetBytes(header));
            stream.SetLength(8 + header.Length + Bytes);
            stream.Position = stream.Length - 1;
            stream.WriteByte(42);
        }
        using var file = SafetensorsFile.Open(path);
        unsafe
        {
            var start = file.Pointer("big", out var length);
            Assert.Equal(Bytes, length);
            Assert.Equal(42, start[length - 1]);
        }
        Assert.Contains("pointer", Assert.Throws<InvalidOperationException>(() => file.Span("big").Length).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void An_index_round_trips()
    {
        var path = _directory[SafetensorsIndex.FileName];
        new SafetensorsIndex(123, new Dictionary<string, string> { ["b"] = "2.safetensors", ["a"] = "1.safetensors" }).Write(path);
        var index = SafetensorsIndex.Read(path);
        Assert.Equal(123, index.TotalSizeBytes);
        Assert.Equal("2.safetensors", index.WeightMap["b"]);
    }

    [Theory]
    [InlineData("../outside.safetensors")]
    [InlineData("/etc/passwd")]
    [InlineData("..")]
    [InlineData("sub/inside.safetensors")]
    [InlineData("a\\\\b")]
    [InlineData("")]
    public void An_index_names_no_file_outside_its_directory(string file)
    {
        var path = _directory[SafetensorsIndex.FileName];
        File.WriteAllText(path, "{\"weight_map\":{\"a\":\"" + file + "\"}}");
        Assert.Contains("same directory", Assert.Throws<ModelFormatException>(() => SafetensorsIndex.Read(path)).Message, StringComparison.Ordinal);
    }

    private static byte[] Length(ulong value)
    {
        var bytes = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        return bytes;
    }

    private static void WriteOne(string path, byte value)
    {
        using var writer = SafetensorsWriter.Create(path, [new("w", TensorDataType.U8, [1])]);
        writer.Write("w", [value]);
        writer.Commit();
    }
}
