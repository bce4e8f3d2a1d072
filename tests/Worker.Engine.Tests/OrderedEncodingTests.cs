using System.Text.Json;
using Platform.Core;
using Platform.Core.Jobs;
using Platform.Worker.Engine.Data;
using Xunit;

namespace Platform.Worker.Engine.Tests;

/// <summary>Documents are encoded by many threads and written as by one.</summary>
public sealed class OrderedEncodingTests
{
    [Fact]
    public void Documents_of_any_length_over_several_files_are_written_in_the_order_of_the_files()
    {
        var seed = Environment.TickCount;
        TestContext.Current.TestOutputHelper?.WriteLine($"Seed {seed}");
        var random = new Random(seed);
        using var directory = new TemporaryDirectory();

        // Long ones between short ones: batches differ in how long they take.
        var documents = Enumerable.Range(0, 400).Select(i => $"document {i} " + new string((char)('a' + (i % 26)), random.Next(10) == 0 ? random.Next(40_000) : random.Next(50))).ToList();
        var files = documents.Chunk(130).Select((chunk, i) => directory.Write(
            $"{i}.jsonl", string.Concat(chunk.Select(text => JsonSerializer.Serialize(new { text }) + "\n")))).ToList();

        var hash = DatasetBuilder.Build(
            directory.Path, new DataSpec { Source = files, Format = "jsonl", SequenceLength = 8 }, _ => { }, TestContext.Current.CancellationToken);

        using var dataset = Dataset.Open(Path.Combine(directory.Path, ArtifactLayout.Dataset(hash)));
        var tokenizer = dataset.Tokenizer.Tokenizer;
        var expected = new List<int>();
        foreach (var document in documents)
        {
            tokenizer.Encode(document, Text.Tokenization.EncodeOptions.None, expected);
            expected.Add(tokenizer.EndOfSequenceId ?? throw new InvalidOperationException("The platform's own tokenizers end documents."));
        }

        var written = new long[expected.Count - 1];
        dataset.Shards[0].Read(0, written, new long[written.Length]);
        Assert.Equal(expected.Count, dataset.Shards[0].Count);
        Assert.Equal(expected.SkipLast(1).Select(id => (long)id), written);
        Assert.Equal(documents.Count, dataset.Description.Documents);
    }

    [Fact]
    public void The_first_document_that_is_wrong_is_named_however_long_it_takes()
    {
        using var secondFailed = new ManualResetEventSlim();
        var refused = Assert.Throws<InputUnreadableException>(() => OrderedEncoding.Run<string>(
            ["good", "first", "good", "second"], _ => int.MaxValue, document =>
            {
                if (document == "second")
                {
                    secondFailed.Set();
                    throw new InputUnreadableException(document);
                }

                if (document == "first")
                {
                    secondFailed.Wait(TestContext.Current.CancellationToken);
                    throw new InputUnreadableException(document);
                }

                return null;
            }, _ => Assert.Fail("Nothing is written.")));
        Assert.Equal("first", refused.Message);
    }

    [Fact]
    public void What_can_be_read_before_a_file_fails_is_encoded_first()
    {
        var written = 0;
        Assert.Throws<IOException>(() => OrderedEncoding.Run(Documents(), _ => 1, _ =>
        {
            var document = new EncodedDocument();
            document.Append([1], isLearnt: true);
            return document;
        }, _ => written++));
        Assert.Equal(5, written);

        static IEnumerable<string> Documents()
        {
            for (var i = 0; i < 5; i++)
                yield return $"{i}";
            throw new IOException("The disk is gone.");
        }
    }
}
