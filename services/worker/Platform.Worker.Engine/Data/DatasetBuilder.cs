using Platform.Core;
using Platform.Core.Jobs;
using Platform.Formats.Storage;
using Platform.Text.Tokenization;
using Platform.Text.Training;

namespace Platform.Worker.Engine.Data;

/// <summary>
/// Tokenises a job's data into the artifact store, once: the directory is named by the hash of the files' bytes and of how
/// they are tokenised (<see cref="DatasetHash"/>), and appears whole. A second job with the same data finds it there, and jobs
/// that make it at the same time do not disturb each other. Each source of a mixture becomes a shard of its own.
/// </summary>
public static class DatasetBuilder
{
    /// <summary>ChatML, so that models of the platform's own answer chat requests.</summary>
    public const string ChatTemplate =
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}" +
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

    /// <summary>Makes the data set unless it is there.</summary>
    /// <param name="artifactRoot">Root of the artifact store.</param>
    /// <param name="data">What to read, and how; its tokenizer is named, not that of some model.</param>
    /// <param name="progress">Told the share that is done, [0, 1].</param>
    /// <param name="cancellationToken">Gives up; nothing is left behind.</param>
    /// <returns>The hash that names it; see <see cref="ArtifactLayout.Dataset"/>.</returns>
    /// <exception cref="InputUnreadableException">Data or tokenizer cannot be read.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public static string Build(string artifactRoot, DataSpec data, Action<double> progress, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(data);
        ArgumentNullException.ThrowIfNull(progress);
        var sources = FindSources(data);
        var hash = DatasetHash.Of(sources, data, cancellationToken);
        var final = Path.Combine(artifactRoot, ArtifactLayout.Dataset(hash));
        if (Dataset.Exists(final))
            return hash;

        var parent = Path.GetDirectoryName(final) ?? artifactRoot;
        Directory.CreateDirectory(parent);
        var temporary = Path.Combine(parent, $".{hash}.{Guid.NewGuid():N}");
        Directory.CreateDirectory(temporary);
        try
        {
            Write(temporary, sources, data, progress, cancellationToken);
            if (!Dataset.Exists(final))
                Directory.Move(temporary, final);
        }
        catch (IOException) when (Dataset.Exists(final))
        {
            // Another job made the same data set in the meantime.
        }
        finally
        {
            if (Directory.Exists(temporary))
                Directory.Delete(temporary, recursive: true);
        }

        return hash;
    }

    private static List<DatasetSource> FindSources(DataSpec data) => data.Mixture.Count == 0
        ? [new DatasetSource("", SourceFiles.Find(data.Source))]
        : [.. data.Mixture.Select(entry => new DatasetSource(entry.Source, SourceFiles.Find([entry.Source])))];

    private static void Write(
        string directory, List<DatasetSource> sources, DataSpec data, Action<double> progress, CancellationToken cancellationToken)
    {
        // Training a tokenizer takes about as long as using it.
        var trains = data.Tokenizer is TokenizerSpec.TrainBpe;
        var tokenizer = Tokenizer(sources, data, done => progress(done / 2), cancellationToken);
        tokenizer.Save(directory);
        var bytes = TokenFile.TokenBytes(tokenizer.Tokenizer.VocabularySize);
        var chat = data.Format == "chat" ? new ChatEncoder(tokenizer) : null;
        var reported = new ShareOfBytes(
            sources.SelectMany(source => source.Files), share => progress(trains ? 0.5 + (share / 2) : share), cancellationToken);
        var shards = new List<DatasetShard>();
        var endOfTurn = new SortedSet<int>();
        foreach (var (name, files) in sources)
        {
            using var writer = new TokenWriter(directory, shards.Count, bytes, hasMask: chat is not null);
            Encode(files, data, tokenizer, chat, reported, writer, endOfTurn);
            shards.Add(writer.Commit(name));
            if (shards[^1].Tokens < data.SequenceLength + 1L)
                throw new InputUnreadableException(
                    $"data.source: {(name.Length == 0 ? "the files hold" : $"the files of {name} hold")} {shards[^1].Tokens} tokens; " +
                    $"one sequence of {data.SequenceLength} needs {data.SequenceLength + 1}.");
        }

        DurableFile.WriteAllBytes(
            Path.Combine(directory, DatasetDescription.FileName),
            Dataset.Describe(new(
                DatasetDescription.CurrentVersion, bytes, tokenizer.Tokenizer.VocabularySize, shards, [.. endOfTurn])));
    }

    private static void Encode(
        IReadOnlyList<string> files, DataSpec data, TokenizerDirectory directory, ChatEncoder? chat, ShareOfBytes reported, TokenWriter writer,
        SortedSet<int> endOfTurn)
    {
        var tokenizer = directory.Tokenizer;
        if (data.Format == "tokens")
        {
            foreach (var file in files)
            {
                TokenIdFiles.Copy(file, tokenizer.VocabularySize, writer, reported.Read);
                reported.Finish(file);
            }
        }
        else if (chat is not null)
        {
            OrderedEncoding.Run(Across(file => DocumentReader.Lines(file, reported.Read)), line => line.Text.Length, chat.Encode, Write);
        }
        else if (data.Format == "jsonl")
        {
            OrderedEncoding.Run(
                Across(file => DocumentReader.Lines(file, reported.Read)), line => line.Text.Length, line => Tokens(DocumentReader.TextOf(line)), Write);
        }
        else
        {
            OrderedEncoding.Run(Across(file => DocumentReader.Read(file, data.Format, reported.Read)), document => document.Length, Tokens, Write);
        }

        IEnumerable<T> Across<T>(Func<string, IEnumerable<T>> read)
        {
            foreach (var file in files)
            {
                foreach (var document in read(file))
                {
                    reported.Read(0);
                    yield return document;
                }

                reported.Finish(file);
            }
        }

        void Write(EncodedDocument document)
        {
            endOfTurn.UnionWith(document.EndOfTurnIds);
            document.WriteTo(writer);
        }

        EncodedDocument? Tokens(string text)
        {
            if (text.Length == 0)
                return null;
            var ids = new List<int>();

            // A tokenizer that puts tokens around a text has its model know texts so.
            tokenizer.Encode(text, data.Tokenizer is TokenizerSpec.Directory ? EncodeOptions.AddSpecialTokens : EncodeOptions.None, ids);
            if (tokenizer.EndOfSequenceId is { } end && (ids.Count == 0 || ids[^1] != end))
                ids.Add(end);
            var document = new EncodedDocument();
            document.Append(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(ids), isLearnt: true);
            return document;
        }
    }

    private static TokenizerDirectory Tokenizer(
        List<DatasetSource> sources, DataSpec data, Action<double> progress, CancellationToken cancellationToken)
    {
        switch (data.Tokenizer)
        {
            case TokenizerSpec.Bytes:
                return TokenizerDirectory.ForOwn(ByteLevelBpeModel.Bytes(BpeTrainingOptions.DefaultSpecialTokens), ChatTemplate);
            case TokenizerSpec.TrainBpe bpe:
                var texts = sources.SelectMany(source => source.Files).SelectMany(file => DocumentReader.Read(file, data.Format));
                var report = new ShareOfMerges(progress);
                try
                {
                    return TokenizerDirectory.ForOwn(
                        BpeTrainer.Train(texts, new BpeTrainingOptions { VocabularySize = bpe.VocabSize }, report, cancellationToken), ChatTemplate);
                }
                catch (ArgumentException refused)
                {
                    throw new InputUnreadableException($"data.tokenizer: {refused.Message}", refused);
                }

            case TokenizerSpec.Directory directory:
                try
                {
                    return TokenizerDirectory.Open(directory.Path);
                }
                catch (Exception refused) when (refused is IOException or UnauthorizedAccessException or FormatException)
                {
                    throw new InputUnreadableException($"data.tokenizer: '{directory.Path}' cannot be read: {refused.Message}", refused);
                }

            default:
                throw new InvalidOperationException($"{data.Tokenizer.GetType().Name} is not a kind of tokenizer.");
        }
    }

    /// <summary>Passes a tokenizer's progress on where it is made; <see cref="Progress{T}"/> would do so later, elsewhere.</summary>
    private sealed class ShareOfMerges(Action<double> progress) : IProgress<BpeTrainingProgress>
    {
        public void Report(BpeTrainingProgress value) => progress(value.MergesWanted == 0 ? 0 : (double)value.Merges / value.MergesWanted);
    }

    /// <summary>Says, in steps of a hundredth at least, which share of all files' bytes has been read; stops when cancelled.</summary>
    private sealed class ShareOfBytes(IEnumerable<string> files, Action<double> progress, CancellationToken cancellationToken)
    {
        private readonly double _all = Math.Max(1, files.Sum(file => new FileInfo(file).Length));
        private double _finished;
        private double _said;

        public void Read(long position)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var share = Math.Min(1, (_finished + position) / _all);
            if (share < _said + 0.01)
                return;
            _said = share;
            progress(share);
        }

        public void Finish(string file)
        {
            _finished += new FileInfo(file).Length;
            _said = Math.Min(1, _finished / _all);
            progress(_said);
        }
    }
}
