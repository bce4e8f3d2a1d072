using System.Security.Cryptography;
using System.Text;
using Platform.Core.Jobs;
using Platform.Text.Tokenization;

namespace Platform.Worker.Engine.Data;

/// <summary>A source of a mixture, or all sources of a job without one.</summary>
/// <param name="Name">As the job names it; empty for all of them.</param>
/// <param name="Files">Its files.</param>
internal sealed record DatasetSource(string Name, IReadOnlyList<string> Files);

/// <summary>The name of a data set: what its tokens depend on, and nothing else (not the weights of a mixture, nor where files lie).</summary>
internal static class DatasetHash
{
    // Changes when the same files would give other tokens.
    private const string Recipe = "dataset-3";

    private static readonly string[] TokenizerFiles = [TokenizerJson.FileName, TokenizerConfig.FileName, "chat_template.jinja"];

    /// <summary>SHA-256 in hexadecimal over the recipe, the tokenizer and the files' bytes.</summary>
    /// <exception cref="InputUnreadableException">A file cannot be read.</exception>
    public static string Of(IReadOnlyList<DatasetSource> sources, DataSpec data, CancellationToken cancellationToken)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        Text(Recipe);
        Text(data.Format);
        switch (data.Tokenizer)
        {
            case TokenizerSpec.Directory directory:
                Text("directory");
                foreach (var name in TokenizerFiles)
                    Content(Path.Combine(directory.Path, name), isOptional: name != TokenizerJson.FileName);
                break;
            case TokenizerSpec.TrainBpe bpe:
                Text($"bpe {bpe.VocabSize}");
                break;
            default:
                Text("bytes");
                break;
        }

        foreach (var (_, files) in sources)
        {
            Text($"source of {files.Count} files");
            foreach (var file in files)
            {
                cancellationToken.ThrowIfCancellationRequested();
                Text(Path.GetExtension(file));
                Content(file, isOptional: false);
            }
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
}
