using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text.Json.Nodes;
using CsCheck;
using Platform.Formats.Checkpoints;
using Platform.Formats.Safetensors;
using Xunit;

namespace Platform.Formats.Tests;

public sealed class CheckpointTests : IDisposable
{
    private static readonly CheckpointHeader Header = new()
    {
        Job = "jobs/lm",
        Attempt = 2,
        Step = 100,
        Seed = 42,
        DataPosition = 3200,
        Model = new JsonObject { ["hidden_size"] = 8 },
        State = new JsonObject { ["optimizer"] = new JsonObject { ["name"] = "adamw" } },
    };

    private readonly TemporaryDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void Any_layout_reads_what_any_other_wrote()
    {
        // Shapes of up to three dims, cut at random places along every dim into a grid whose cells go to random ranks.
        var shapes = Gen.Long[0, 7].Array[0, 3];
        Gen.Select(shapes, Gen.Int[0, int.MaxValue]).Sample(
            (dims, seed) =>
            {
                var random = new Random(seed);
                using var directory = new TemporaryDirectory();
                var shape = TensorShape.Create(dims);
                var values = Values(shape);
                var boxes = Grid(shape, random);
                WriteRanks(directory.Path, shape, values, [.. boxes.GroupBy(_ => random.Next(3)).Select(group => group.ToList())]);
                using var reader = CheckpointReader.Open(directory.Path, CheckpointVerification.Hashes);
                Assert.Equal(Convert.ToHexStringLower(SHA256.HashData(MemoryMarshal.AsBytes(values.AsSpan()))), reader.Sha256("w"));
                foreach (var box in Grid(shape, random))
                {
                    Assert.Equal(Cut(values, shape, box), Read(reader, "w", box));
                }
            },
            iter: 200,
            threads: 1);
    }

    [Fact]
    public void What_column_parallel_ranks_write_row_parallel_ranks_read()
    {
        TensorShape shape = [4, 6];
        var values = Values(shape);
        WriteRanks(_directory.Path, shape, values, [[TensorBox.Slice(shape, 1, 0, 3)], [TensorBox.Slice(shape, 1, 3, 3)]]);
        using var reader = CheckpointReader.Open(_directory.Path, CheckpointVerification.Structure);
        Assert.Equal(values[12..24], Read(reader, "w", TensorBox.Slice(shape, 0, 2, 2)));
        Assert.Equal(100, reader.Manifest.Header.Step);
        Assert.Equal("adamw", (string?)reader.Manifest.Header.State["optimizer"]?["name"]);
        Assert.Throws<ArgumentException>(() => Read(reader, "w", new TensorBox([3, 0], [2, 6])));
        Assert.Throws<ArgumentException>(() => reader.ReadSlice("w", [0, 0], [1, 1], new byte[5]));
        Assert.Throws<ModelFormatException>(() => reader.Tensor("v"));
    }

    [Fact]
    public void A_flat_range_is_the_boxes_it_covers_in_order()
    {
        Gen.Select(Gen.Long[1, 5].Array[0, 3], Gen.Double[0, 1], Gen.Double[0, 1]).Sample((dims, a, b) =>
        {
            var shape = TensorShape.Create(dims);
            var first = (long)(Math.Min(a, b) * shape.ElementCount());
            var count = (long)(Math.Max(a, b) * shape.ElementCount()) - first;
            var values = Values(shape);
            Assert.Equal(values[(int)first..(int)(first + count)], TensorBox.OfFlatRange(shape, first, count).SelectMany(box => Cut(values, shape, box)));
        });
        Assert.Equal([new TensorBox([0, 2], [1, 1]), new TensorBox([1, 0], [2, 3]), new TensorBox([3, 0], [1, 1])], TensorBox.OfFlatRange([4, 3], 2, 8));
        Assert.Equal(new TensorBox([5, 2], [1, 1]), new TensorBox([1, 2], [1, 1]).Offset([4, 0]));
    }

    [Fact]
    public void A_shard_travels_between_ranks_as_bytes()
    {
        var shard = WriteShard(_directory.Path, 0, [2, 2], Values([2, 2]), [TensorBox.Whole([2, 2])]);
        Assert.Equal(shard.ToUtf8(), CheckpointShard.Parse(shard.ToUtf8()).ToUtf8());
        Assert.Throws<FormatException>(() => CheckpointShard.Parse("{}"u8));
    }

    [Fact]
    public void Ranks_that_do_not_make_whole_tensors_are_refused_with_every_reason()
    {
        TensorShape shape = [4, 2];
        var values = Values(shape);
        var upper = WriteShard(_directory.Path, 0, shape, values, [TensorBox.Slice(shape, 0, 0, 2)]);
        var overlapping = WriteShard(_directory.Path, 1, shape, values, [TensorBox.Slice(shape, 0, 1, 3)]);
        Assert.Contains("6 of 8", Refusal([overlapping]), StringComparison.Ordinal);
        Assert.Contains("overlap", Refusal([upper, overlapping]), StringComparison.Ordinal);
        Assert.Contains("listed twice", Refusal([upper, upper]), StringComparison.Ordinal);
        var other = WriteShard(_directory.Path, 2, [2, 2], Values([2, 2]), [TensorBox.Whole([2, 2])]);
        Assert.Contains("another shard", Refusal([upper, other]), StringComparison.Ordinal);

        static string Refusal(CheckpointShard[] shards) => Assert.Throws<ArgumentException>(() => CheckpointManifest.Merge(Header, shards)).Message;
    }

    [Fact]
    public void A_truncated_shard_is_found_without_reading_it()
    {
        var file = WriteTwo();
        File.WriteAllBytes(file, File.ReadAllBytes(file)[..^1]);
        Assert.Contains("truncated", OpenError(CheckpointVerification.Structure).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_changed_bit_is_found_by_its_hash()
    {
        var file = WriteTwo();
        var bytes = File.ReadAllBytes(file);
        bytes[^1] ^= 1;
        File.WriteAllBytes(file, bytes);
        CheckpointReader.Open(_directory.Path, CheckpointVerification.Structure).Dispose();
        var error = OpenError(CheckpointVerification.Hashes);
        Assert.Contains("damaged", error.Message, StringComparison.Ordinal);
        Assert.Equal(file, error.File);
    }

    [Fact]
    public void A_missing_shard_is_named()
    {
        File.Delete(WriteTwo());
        Assert.Contains("rank-00001.safetensors", OpenError(CheckpointVerification.Structure).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Shards_that_changed_places_are_found()
    {
        TensorShape shape = [4, 2];
        WriteRanks(_directory.Path, shape, Values(shape), [[TensorBox.Slice(shape, 0, 0, 2)], [TensorBox.Slice(shape, 0, 2, 2)]]);
        File.Move(_directory["rank-00000.safetensors"], _directory["x"]);
        File.Move(_directory["rank-00001.safetensors"], _directory["rank-00000.safetensors"]);
        File.Move(_directory["x"], _directory["rank-00001.safetensors"]);
        Assert.Contains("damaged", OpenError(CheckpointVerification.Hashes).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_checkpoint_without_a_manifest_does_not_exist()
    {
        WriteShard(_directory.Path, 0, [1], Values([1]), [TensorBox.Whole([1])]);
        Assert.Throws<FileNotFoundException>(() => CheckpointReader.Open(_directory.Path, CheckpointVerification.Structure));
    }

    [Fact]
    public void A_shard_that_is_a_link_out_of_the_directory_is_refused()
    {
        var file = WriteTwo();
        using var elsewhere = new TemporaryDirectory();
        File.Move(file, elsewhere["secret"]);
        File.CreateSymbolicLink(file, elsewhere["secret"]);
        Assert.Contains("leads out", OpenError(CheckpointVerification.Structure).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_hash_returned_is_the_manifest_files()
    {
        var shard = WriteShard(_directory.Path, 0, [1], Values([1]), [TensorBox.Whole([1])]);
        Assert.Equal(CheckpointManifest.Merge(Header, [shard]).Write(_directory.Path), CheckpointManifest.HashOf(_directory.Path));
    }

    [Theory]
    [InlineData("\"version\": 1", "\"version\": 2", "version")]
    [InlineData("rank-00001.safetensors", "../rank-00001.safetensors", "plain file name")]
    [InlineData("\"dtype\": \"F32\"", "\"dtype\": \"F64\"", "found F32")]
    [InlineData("\"dtype\": \"F32\"", "\"dtype\": \"X\"", "dtype")]
    [InlineData("\"step\"", "\"steps\"", "steps")]
    public void A_manifest_that_does_not_fit_is_refused(string from, string to, string reason)
    {
        WriteTwo();
        var path = _directory[CheckpointManifest.FileName];
        File.WriteAllText(path, File.ReadAllText(path).Replace(from, to, StringComparison.Ordinal));
        Assert.Contains(reason, OpenError(CheckpointVerification.Structure).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Any_mutation_of_a_manifest_is_read_or_refused_but_never_crashes()
    {
        WriteTwo();
        var path = _directory[CheckpointManifest.FileName];
        var good = File.ReadAllBytes(path);
        Gen.Select(Gen.Int[0, good.Length - 1], Gen.OneOf<byte>((byte)'0', (byte)'9', (byte)'-', (byte)'"', (byte)',', (byte)'{', (byte)']', (byte)'n', 0xFF)).Array[1, 3].Sample(
            edits =>
            {
                var bytes = good.ToArray();
                foreach (var (at, value) in edits)
                {
                    bytes[at] = value;
                }
                File.WriteAllBytes(path, bytes);
                try
                {
                    using var reader = CheckpointReader.Open(_directory.Path, CheckpointVerification.Structure);
                    foreach (var name in reader.Manifest.Tensors.Keys)
                    {
                        reader.Sha256(name);
                    }
                }
                catch (ModelFormatException)
                {
                }
            },
            iter: 1000,
            threads: 1);
    }

    private string WriteTwo()
    {
        TensorShape shape = [4, 2];
        WriteRanks(_directory.Path, shape, Values(shape), [[TensorBox.Slice(shape, 0, 0, 2)], [TensorBox.Slice(shape, 0, 2, 2)]]);
        return _directory["rank-00001.safetensors"];
    }

    private ModelFormatException OpenError(CheckpointVerification verification) =>
        Assert.Throws<ModelFormatException>(() => CheckpointReader.Open(_directory.Path, verification));

    private static float[] Values(TensorShape shape) => [.. Enumerable.Range(0, (int)shape.ElementCount()).Select(i => (float)i)];

    /// <summary>The elements of a box, picked one by one: the plain reference of what slices must give.</summary>
    private static float[] Cut(float[] values, TensorShape shape, TensorBox box)
    {
        var result = new float[box.Shape.ElementCount()];
        for (long i = 0; i < result.Length; i++)
        {
            long rest = i, flat = 0, stride = 1;
            for (var dim = shape.Count - 1; dim >= 0; dim--)
            {
                flat += ((rest % box.Shape[dim]) + box.Start[dim]) * stride;
                rest /= box.Shape[dim];
                stride *= shape[dim];
            }
            result[i] = values[flat];
        }
        return result;
    }

    private static float[] Read(CheckpointReader reader, string name, TensorBox box)
    {
        var result = new float[box.Shape.ElementCount()];
        reader.ReadSlice(name, [.. box.Start], [.. box.Shape], MemoryMarshal.AsBytes(result.AsSpan()));
        return result;
    }

    private static List<TensorBox> Grid(TensorShape shape, Random random)
    {
        List<(List<long> Start, List<long> Length)> cells = [([], [])];
        foreach (var size in shape)
        {
            var cuts = Enumerable.Range(0, random.Next(3)).Select(_ => random.NextInt64(size + 1)).Append(0).Append(size).Distinct().Order().ToList();
            var spans = cuts.Count == 1 ? [(0, 0)] : cuts.Zip(cuts.Skip(1), (a, b) => (Start: a, Length: b - a)).ToList();
            cells = [.. cells.SelectMany(cell => spans.Select(span => ((List<long>)[.. cell.Start, span.Item1], (List<long>)[.. cell.Length, span.Item2])))];
        }
        return [.. cells.Select(cell => new TensorBox(TensorShape.Create([.. cell.Start]), TensorShape.Create([.. cell.Length])))];
    }

    private static void WriteRanks(string directory, TensorShape shape, float[] values, List<TensorBox>[] ranks)
    {
        var shards = ranks.Select((boxes, rank) => WriteShard(directory, rank, shape, values, boxes)).ToList();
        CheckpointManifest.Merge(Header, shards.Select(shard => CheckpointShard.Parse(shard.ToUtf8()))).Write(directory);
    }

    private static CheckpointShard WriteShard(string directory, int rank, TensorShape shape, float[] values, List<TensorBox> boxes)
    {
        using var writer = CheckpointShardWriter.Create(directory, rank, [.. boxes.Select(box => new CheckpointPart("w", TensorDataType.F32, shape, box))]);
        for (var part = 0; part < boxes.Count; part++)
        {
            writer.Write(part, MemoryMarshal.AsBytes(Cut(values, shape, boxes[part]).AsSpan()));
        }
        return writer.Commit();
    }
}
