using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using Platform.Core;
using Platform.Core.Jobs;
using Platform.Formats.Storage;
using Platform.Text.Tokenization;
using Platform.Text.Training;

namespace Platform.Worker.Engine.Data;

/// <summary>
/// Tokenises a job's text into the artifact store, once: the directory is named by the hash of the files' bytes and of how
/// they are tokenised, and appears whole. A second job with the same data finds it there.
/// </summary>
public static class DatasetBuilder
{
    /// <summary>ChatML, so that models of the platform's own answer chat requests.</summary>
    public const string ChatTemplate =
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}" +
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

    private const string EndOfText = "<|endoftext|>";

    // Changes when the same files would give other tokens.
    private const string Recipe = "dataset-2";

    /// <summary>Makes the data set unless it is there.</summary>
    /// <param name="artifactRoot">Root of the artifact store.</param>
    /// <param name="data">What to read, and how.</param>
    /// <param name="progress">Told the share that is done, [0, 1].</param>
    /// <param name="cancellationToken">Gives up; nothing is left behind.</param>
    /// <returns>The hash that names it; see <see cref="ArtifactLayout.Dataset"/>.</returns>
    /// <exception cref="InputUnreadableException">Data or tokenizer cannot be read.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public static string Build(string artifactRoot, DataSpec data, Action<double> progress, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(data);
        ArgumentNullException.ThrowIfNull(progress);
        var files = SourceFiles.Find(data.Source);
        var hash = HashOf(files, data, cancellationToken);
        var final = Path.Combine(artifactRoot, ArtifactLayout.Dataset(hash));
        if (Dataset.Exists(final))
            return hash;

        var parent = Path.GetDirectoryName(final) ?? artifactRoot;
        Directory.CreateDirectory(parent);
        var temporary = Path.Combine(parent, $".{hash}.{Guid.NewGuid():N}");
        Directory.CreateDirectory(temporary);
        try
        {
            Write(temporary, files, data, progress, cancellationToken);
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

    private static void Write(
        string directory, IReadOnlyList<string> files, DataSpec data, Action<double> progress, CancellationToken cancellationToken)
    {
        // Training a tokenizer takes about as long as using it.
        var trains = data.Tokenizer is TokenizerSpec.TrainBpe;
        var tokenizer = Tokenizer(files, data, done => progress(done / 2), cancellationToken);
        tokenizer.Save(directory);
        var bytes = TokenFile.TokenBytes(tokenizer.Tokenizer.VocabularySize);
        long tokens = 0, documents = 0;
        using (var output = DurableFile.Create(Path.Combine(directory, TokenFile.FileName)))
        {
            var ids = new List<int>();
            var end = tokenizer.Tokenizer.EndOfSequenceId;
            for (var i = 0; i < files.Count; i++)
            {
                foreach (var document in DocumentReader.Read(files[i], data.Format))
                {
                    cancellationToken.ThrowIfCancellationRequested();
                    ids.Clear();
                    tokenizer.Tokenizer.Encode(document, EncodeOptions.None, ids);
                    if (ids.Count == 0)
                        continue;
                    if (end is { } id)
                        ids.Add(id);
                    RandomAccess.Write(output.Handle, Packed(ids, bytes), tokens * bytes);
                    tokens += ids.Count;
                    documents++;
                }

                var share = (i + 1.0) / files.Count;
                progress(trains ? 0.5 + (share / 2) : share);
            }

            if (tokens < data.SequenceLength + 1L)
                throw new InputUnreadableException(
                    $"data.source: the files hold {tokens} tokens; one sequence of {data.SequenceLength} needs {data.SequenceLength + 1}.");
            output.Commit();
        }

        DurableFile.WriteAllBytes(
            Path.Combine(directory, DatasetDescription.FileName),
            Dataset.Describe(new(DatasetDescription.CurrentVersion, tokens, bytes, tokenizer.Tokenizer.VocabularySize, documents)));
    }

    private static TokenizerDirectory Tokenizer(
        IReadOnlyList<string> files, DataSpec data, Action<double> progress, CancellationToken cancellationToken)
    {
        switch (data.Tokenizer)
        {
            case TokenizerSpec.Bytes:
                return TokenizerDirectory.ForOwn(ByteLevelBpeModel.Bytes(BpeTrainingOptions.DefaultSpecialTokens), ChatTemplate);
            case TokenizerSpec.TrainBpe bpe:
                var texts = files.SelectMany(file => DocumentReader.Read(file, data.Format));
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

    private static string HashOf(IReadOnlyList<string> files, DataSpec data, CancellationToken cancellationToken)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        Text(Recipe);
        Text(data.Format);
        switch (data.Tokenizer)
        {
            case TokenizerSpec.Directory directory:
                Text("directory");
                foreach (var name in new[] { TokenizerJson.FileName, TokenizerConfig.FileName })
                    Content(Path.Combine(directory.Path, name), isOptional: name == TokenizerConfig.FileName);
                break;
            case TokenizerSpec.TrainBpe bpe:
                Text($"bpe {bpe.VocabSize}");
                break;
            default:
                Text("bytes");
                break;
        }

        foreach (var file in files)
        {
            cancellationToken.ThrowIfCancellationRequested();
            Text(Path.GetExtension(file));
            Content(file, isOptional: false);
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());

        void Text(string text) => hash.AppendData([.. Encoding.UTF8.GetBytes(text), 0]);

        void Content(string path, bool isOptional)
        {
            try
            {
                using var stream = File.OpenRead(path);
                hash.AppendData(SHA256.HashData(stream));
            }
            catch (FileNotFoundException) when (isOptional)
            {
                Text("none");
            }
            catch (Exception refused) when (refused is IOException or UnauthorizedAccessException)
            {
                throw new InputUnreadableException($"{path} cannot be read: {refused.Message}", refused);
            }
        }
    }

    private static ReadOnlySpan<byte> Packed(List<int> ids, int tokenBytes)
    {
        if (tokenBytes == 4)
            return MemoryMarshal.AsBytes(CollectionsMarshal.AsSpan(ids));
        var narrow = new ushort[ids.Count];
        for (var i = 0; i < narrow.Length; i++)
            narrow[i] = checked((ushort)ids[i]);
        return MemoryMarshal.AsBytes<ushort>(narrow);
    }

    /// <summary>Passes a tokenizer's progress on where it is made; <see cref="Progress{T}"/> would do so later, elsewhere.</summary>
    private sealed class ShareOfMerges(Action<double> progress) : IProgress<BpeTrainingProgress>
    {
        public void Report(BpeTrainingProgress value) => progress(value.MergesWanted == 0 ? 0 : (double)value.Merges / value.MergesWanted);

    }
}
