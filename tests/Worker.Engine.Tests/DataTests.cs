using Platform.Core;
using Platform.Core.Jobs;
using Platform.Worker.Engine.Data;
using Xunit;

namespace Platform.Worker.Engine.Tests;

public sealed class DataTests
{
    private const string Documentation = """
        <?xml version="1.0"?>
        <doc><assembly><name>Sample</name></assembly><members>
        <member name="T:Sample.Widget"><summary>A widget that
            can be <see cref="M:Sample.Widget.Turn(System.Int32)"/>ed, or <see langword="null" />.</summary></member>
        <member name="M:Sample.Widget.Turn(System.Int32)"><summary>Turns it.</summary><param name="angle">How far.</param>
        <returns><para>The angle.</para><para>Never negative.</para></returns><exception cref="T:System.ArgumentException">Too far.</exception></member>
        <member name="M:Sample.Widget.Fit``1(System.Collections.Generic.IEnumerable{System.Int32},``0@)"><summary>Fits.</summary></member>
        <member name="M:Sample.Widget.System#IComparable#CompareTo(System.Object)"><summary>Compares.</summary></member>
        <member name="P:Sample.Widget`2.Size"><summary>Gets the size.</summary></member>
        <member name="T:Sample.Empty"></member>
        <member name="T:Sample.Other"><summary>Something else.</summary></member>
        </members></doc>
        """;

    [Fact]
    public void Reference_documentation_becomes_a_readable_document_per_type()
    {
        using var directory = new TemporaryDirectory();

        var documents = DocumentReader.Read(directory.Write("Sample.xml", Documentation), "text").ToList();

        Assert.Equal(
            [
                """
                Sample.Widget
                A widget that can be Turned, or null.

                Widget.Turn(Int32)
                Turns it.
                angle: How far.
                Returns: The angle. Never negative.
                ArgumentException: Too far.

                Widget.Fit(IEnumerable<Int32>, T)
                Fits.

                Widget.CompareTo(Object)
                Compares.

                Widget.Size
                Gets the size.

                """,
                "Sample.Other\nSomething else.\n",
            ],
            documents);
    }

    [Fact]
    public void Json_lines_are_documents_and_a_bad_line_is_named()
    {
        using var directory = new TemporaryDirectory();
        Assert.Equal(["one", "two"], DocumentReader.Read(directory.Write("a.jsonl", "{\"text\":\"one\"}\n\n{\"text\":\"two\",\"x\":1}\n"), "jsonl"));

        var refused = Assert.Throws<InputUnreadableException>(
            () => DocumentReader.Read(directory.Write("b.jsonl", "{\"text\":\"one\"}\n{\"txt\":\"two\"}\n"), "jsonl").ToList());

        Assert.Contains("b.jsonl:2: expected an object with a string 'text'", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Sources_are_files_directories_and_patterns_in_one_order()
    {
        using var directory = new TemporaryDirectory();
        var names = new[] { "b/2.txt", "b/1.txt", "a.txt", "b/c/3.txt", "b/c/3.md" };
        foreach (var name in names)
            directory.Write(name, name);

        Assert.Equal(["a.txt", "b/1.txt"], Found("a.txt", "b/1.txt", "a.txt"));
        Assert.Equal(["b/1.txt", "b/2.txt", "b/c/3.md", "b/c/3.txt"], Found("b"));
        Assert.Equal(["b/1.txt", "b/2.txt"], Found("b/*.txt"));
        Assert.Equal(["b/c/3.txt"], Found("b/?/*.txt"));
        Assert.Equal(["a.txt", "b/1.txt", "b/2.txt", "b/c/3.txt"], Found("**/*.txt"));
        Assert.Contains("nothing", Assert.Throws<InputUnreadableException>(() => Found("a.txt", "nothing/*.txt")).Message, StringComparison.Ordinal);
        Assert.Throws<InputUnreadableException>(() => Found("missing.txt"));

        IEnumerable<string> Found(params string[] sources) =>
            SourceFiles.Find([.. sources.Select(source => Path.Combine(directory.Path, source))])
                .Select(path => Path.GetRelativePath(directory.Path, path));
    }

    [Fact]
    public void Tokens_are_made_once_end_each_document_and_give_the_text_back()
    {
        using var directory = new TemporaryDirectory();
        var data = new DataSpec
        {
            Source = [directory.Write("a.txt", Gang.SomeText(4000)), directory.Write("b.txt", "the value of a tensor")],
            SequenceLength = 8,
            Tokenizer = new TokenizerSpec.TrainBpe(300),
        };
        var shares = new List<double>();

        var hash = DatasetBuilder.Build(directory.Path, data, shares.Add, TestContext.Current.CancellationToken);

        var path = Path.Combine(directory.Path, ArtifactLayout.Dataset(hash));
        using (var dataset = Dataset.Open(path))
        {
            Assert.Equal(300, dataset.Description.VocabularySize);
            Assert.Equal(2, dataset.Description.Documents);
            var end = dataset.Tokenizer.Tokenizer.EndOfSequenceId;
            var ids = new List<int>();
            var (tokens, targets) = (new long[1], new long[1]);
            for (var i = 0; i < dataset.Shards[0].Sequences(1); i++)
            {
                dataset.Shards[0].Read(i, tokens, targets);
                ids.Add((int)tokens[0]);
            }

            Assert.Equal(end, (int)targets[0]);
            Assert.Equal(1, ids.Count(id => id == end));
            Assert.Equal(File.ReadAllText(data.Source[0]) + File.ReadAllText(data.Source[1]), dataset.Tokenizer.Tokenizer.Decode(ids));
        }

        Assert.Equal(1, shares.Max());
        Assert.Equal(shares.Order(), shares);

        var written = File.GetLastWriteTimeUtc(Path.Combine(path, "tokens-00000.bin"));
        Assert.Equal(hash, DatasetBuilder.Build(directory.Path, data, _ => Assert.Fail("It was made again."), TestContext.Current.CancellationToken));
        Assert.Equal(written, File.GetLastWriteTimeUtc(Path.Combine(path, "tokens-00000.bin")));
        Assert.NotEqual(hash, DatasetBuilder.Build(
            directory.Path, data with { Tokenizer = new TokenizerSpec.TrainBpe(280) }, _ => { }, TestContext.Current.CancellationToken));
        Assert.All(Directory.GetFileSystemEntries(Path.Combine(directory.Path, "datasets")), entry => Assert.False(Path.GetFileName(entry).StartsWith('.')));
    }

    [Fact]
    public void Too_little_text_is_refused_and_leaves_nothing_behind()
    {
        using var directory = new TemporaryDirectory();
        var data = new DataSpec { Source = [directory.Write("a.txt", "short")], SequenceLength = 100 };

        var refused = Assert.Throws<InputUnreadableException>(
            () => DatasetBuilder.Build(directory.Path, data, _ => { }, TestContext.Current.CancellationToken));

        Assert.Contains("6 tokens", refused.Message, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFileSystemEntries(Path.Combine(directory.Path, "datasets")));
    }
}
