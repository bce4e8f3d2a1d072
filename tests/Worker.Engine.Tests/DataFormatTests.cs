using System.Buffers.Binary;
using System.Text;
using Platform.Core;
using Platform.Core.Jobs;
using Platform.Torch.Parallel.Layers;
using Platform.Worker.Engine.Data;
using Xunit;

namespace Platform.Worker.Engine.Tests;

/// <summary>Conversations, files of tokens, and several sources.</summary>
public sealed class DataFormatTests
{
    private const string Conversation =
        """{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"},{"role":"assistant","content":" Hello. "},{"role":"user","content":"Bye"},{"role":"assistant","content":"Bye!"}]}""";

    [Fact]
    public void Only_what_the_assistant_says_and_the_token_that_ends_it_is_learnt()
    {
        using var directory = new TemporaryDirectory();
        using var dataset = Build(directory, new DataSpec { Source = [directory.Write("a.jsonl", Conversation + "\n\n" + Conversation + "\n")], Format = "chat", SequenceLength = 4 });

        var (all, learnt) = Texts(dataset);

        Assert.Equal(2, dataset.Description.Documents);
        Assert.Equal(
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n Hello. <|im_end|>\n" +
            "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\nBye!<|im_end|>\n<|endoftext|>", all[..(all.IndexOf("<|endoftext|>", StringComparison.Ordinal) + 13)]);
        Assert.Equal(" Hello. <|im_end|>|Bye!<|im_end|>| Hello. <|im_end|>|Bye!<|im_end|>", learnt);
        Assert.Equal([dataset.Tokenizer.Tokenizer.SpecialTokens["<|im_end|>"]], dataset.Description.EndOfTurnIds);
        var shard = dataset.Shards[0];
        var targets = new long[4];
        for (var i = 0; i < shard.Sequences(4); i++)
        {
            shard.Read(i, new long[4], targets);
            Assert.Equal(targets.Count(target => target != VocabularyParallelLoss.MaskedTarget), shard.Counted(i, 4));
        }
    }

    [Theory]
    [InlineData("""{"messages":[]}""", "a list 'messages' that is not empty")]
    [InlineData("""{"text":"x"}""", "a list 'messages' that is not empty")]
    [InlineData("""{"messages":[{"role":"user","content":"Hi"}]}""", "no message has the role 'assistant'")]
    [InlineData("""{"messages":[{"role":"user"}]}""", "messages[0] should be an object with the strings 'role' and 'content'")]
    [InlineData("""{"messages":[""", "depth")]
    [InlineData("""[1]""", "expected an object")]
    public void A_bad_conversation_is_named_by_file_and_line(string line, string says)
    {
        using var directory = new TemporaryDirectory();
        var refused = Assert.Throws<InputUnreadableException>(() => Build(
            directory, new DataSpec { Source = [directory.Write("a.jsonl", Conversation + "\n" + line + "\n")], Format = "chat", SequenceLength = 4 }));

        Assert.Contains("a.jsonl:2: ", refused.Message, StringComparison.Ordinal);
        Assert.Contains(says, refused.Message, StringComparison.OrdinalIgnoreCase);
    }

    [Fact]
    public void A_template_that_refuses_or_hides_an_answer_is_named_by_file_and_line()
    {
        using var directory = new TemporaryDirectory();
        var own = Path.Combine(directory.Path, "tokenizer");
        Directory.CreateDirectory(own);
        var tokenizer = Text.Tokenization.TokenizerDirectory.ForOwn(Text.Tokenization.ByteLevelBpeModel.Bytes(["<|endoftext|>"]));
        var data = new DataSpec
        {
            Source = [directory.Write("a.jsonl", Conversation + "\n")],
            Format = "chat",
            SequenceLength = 4,
            Tokenizer = new TokenizerSpec.Directory(own),
        };

        Assert.Contains("needs a chat template", RefusalOf(null), StringComparison.Ordinal);
        Assert.Contains("a.jsonl:1: the chat template refuses the conversation: no system", RefusalOf(
            "{{ raise_exception('no system') }}"), StringComparison.Ordinal);
        Assert.Contains("a.jsonl:1: the chat template leaves out the content of messages[2]", RefusalOf(
            "{% for m in messages %}{{ m['role'] }}{% endfor %}"), StringComparison.Ordinal);
        Assert.Contains("otherwise once the answer is there", RefusalOf(
            "{% for m in messages %}{{ messages | length }}{{ m['content'] }}{% endfor %}"), StringComparison.Ordinal);

        string RefusalOf(string? template)
        {
            (tokenizer with { Config = tokenizer.Config with { ChatTemplate = template } }).Save(own);
            return Assert.Throws<InputUnreadableException>(() => Build(directory, data)).Message;
        }
    }

    [Fact]
    public void Files_of_tokens_are_taken_as_they_are_and_ids_out_of_range_are_named()
    {
        using var directory = new TemporaryDirectory();
        var ids = Enumerable.Range(0, 40).Select(i => i * 6).ToArray();
        File.WriteAllBytes(Path.Combine(directory.Path, "a.bin"), [.. ids.SelectMany(id => BitConverter.GetBytes((ushort)id))]);
        WriteNumPy(Path.Combine(directory.Path, "b.npy"), "<i8", ids, 8);
        WriteNumPy(Path.Combine(directory.Path, "c.npy"), "<u4", ids, 4);
        var data = new DataSpec { Source = [.. new[] { "a.bin", "b.npy", "c.npy" }.Select(name => Path.Combine(directory.Path, name))], Format = "tokens", SequenceLength = 7 };

        using (var dataset = Build(directory, data))
            Assert.Equal([.. ids, .. ids, .. ids], Ids(dataset.Shards[0]));

        WriteNumPy(Path.Combine(directory.Path, "c.npy"), "<u4", [1, 2, 300], 4);
        Assert.Contains("c.npy: token 2 is 300; the tokenizer has the ids 0 to 258", Refused(), StringComparison.Ordinal);
        WriteNumPy(Path.Combine(directory.Path, "c.npy"), "<f4", [1, 2, 3], 4);
        Assert.Contains("no whole numbers", Refused(), StringComparison.Ordinal);
        File.WriteAllText(Path.Combine(directory.Path, "c.npy"), "not an array");
        Assert.Contains("not a NumPy file", Refused(), StringComparison.Ordinal);

        string Refused() => Assert.Throws<InputUnreadableException>(() => Build(directory, data)).Message;
    }

    [Fact]
    public void Each_source_of_a_mixture_is_a_shard_and_other_weights_cost_no_work()
    {
        using var directory = new TemporaryDirectory();
        var (a, b) = (directory.Write("a.txt", Gang.SomeText(900)), directory.Write("b.txt", Gang.SomeText(300)));
        var data = new DataSpec { Source = [a, b], SequenceLength = 8, Mixture = [new(a, 1), new(b, 2)] };
        var hash = DatasetBuilder.Build(directory.Path, data, _ => { }, TestContext.Current.CancellationToken);

        using (var dataset = Dataset.Open(Path.Combine(directory.Path, ArtifactLayout.Dataset(hash))))
        {
            Assert.Equal([a, b], dataset.Description.Shards.Select(shard => shard.Source));
            Assert.Equal([File.ReadAllBytes(a).Length + 1, File.ReadAllBytes(b).Length + 1], dataset.Shards.Select(shard => shard.Count));
        }

        Assert.Equal(hash, DatasetBuilder.Build(
            directory.Path, data with { Mixture = [new(a, 5), new(b, 2)] }, _ => Assert.Fail("It was made again."), TestContext.Current.CancellationToken));
        Assert.NotEqual(hash, DatasetBuilder.Build(directory.Path, data with { Mixture = [] }, _ => { }, TestContext.Current.CancellationToken));
    }

    [Fact]
    public void Jobs_that_make_one_data_set_at_the_same_time_all_get_it()
    {
        using var directory = new TemporaryDirectory();
        var data = new DataSpec { Source = [directory.Write("a.txt", Gang.SomeText(60_000))], SequenceLength = 8, Tokenizer = new TokenizerSpec.TrainBpe(400) };
        using var begin = new Barrier(4);
        var hashes = new string[4];
        var threads = Enumerable.Range(0, 4).Select(i => new Thread(() =>
        {
            begin.SignalAndWait();
            hashes[i] = DatasetBuilder.Build(directory.Path, data, _ => { }, CancellationToken.None);
        })).ToList();
        threads.ForEach(thread => thread.Start());
        threads.ForEach(thread => thread.Join());

        Assert.Single(hashes.Distinct());
        Assert.Single(Directory.GetFileSystemEntries(Path.Combine(directory.Path, "datasets")));
        Dataset.Open(Path.Combine(directory.Path, ArtifactLayout.Dataset(hashes[0]))).Dispose();
    }

    [Fact]
    public void Progress_follows_the_bytes_of_one_large_file()
    {
        using var directory = new TemporaryDirectory();
        var lines = string.Concat(Enumerable.Range(0, 4000).Select(i => $"{{\"text\":\"line {i} of many, long enough to fill a buffer now and then\"}}\n"));
        var shares = new List<double>();

        DatasetBuilder.Build(
            directory.Path, new DataSpec { Source = [directory.Write("a.jsonl", lines)], Format = "jsonl", SequenceLength = 8 }, shares.Add,
            TestContext.Current.CancellationToken);

        Assert.True(shares.Count > 20, $"{shares.Count} reports.");
        Assert.Equal(shares.Order(), shares);
        Assert.Equal(1, shares[^1]);
    }

    private static Dataset Build(TemporaryDirectory directory, DataSpec data) => Dataset.Open(Path.Combine(
        directory.Path, ArtifactLayout.Dataset(DatasetBuilder.Build(directory.Path, data, _ => { }, TestContext.Current.CancellationToken))));

    private static List<int> Ids(TokenFile shard)
    {
        var (ids, token, target) = (new List<int>(), new long[1], new long[1]);
        for (var i = 0; i < shard.Sequences(1); i++)
        {
            shard.Read(i, token, target);
            ids.Add((int)token[0]);
        }

        ids.Add((int)target[0]);
        return ids;
    }

    /// <summary>All tokens as text, and the learnt runs of them with bars between.</summary>
    private static (string All, string Learnt) Texts(Dataset dataset)
    {
        var (tokens, targets) = (new long[1], new long[1]);
        var (all, runs, run) = (new List<int>(), new List<string>(), new List<int>());
        for (var i = 0; i < dataset.Shards[0].Sequences(1); i++)
        {
            dataset.Shards[0].Read(i, tokens, targets);
            all.Add((int)tokens[0]);
            if (targets[0] != VocabularyParallelLoss.MaskedTarget)
                run.Add((int)targets[0]);
            else if (run.Count > 0)
            {
                runs.Add(dataset.Tokenizer.Tokenizer.Decode(run, skipSpecialTokens: false));
                run.Clear();
            }
        }

        return (dataset.Tokenizer.Tokenizer.Decode(all, skipSpecialTokens: false), string.Join('|', runs));
    }

    private static void WriteNumPy(string path, string type, int[] values, int bytes)
    {
        var header = $"{{'descr': '{type}', 'fortran_order': False, 'shape': ({values.Length},), }}".PadRight(117) + "\n";
        using var stream = File.Create(path);
        stream.Write([0x93, .. "NUMPY"u8, 1, 0, (byte)header.Length, 0, .. Encoding.Latin1.GetBytes(header)]);
        Span<byte> element = stackalloc byte[8];
        foreach (var value in values)
        {
            BinaryPrimitives.WriteInt64LittleEndian(element, value);
            stream.Write(element[..bytes]);
        }
    }
}
