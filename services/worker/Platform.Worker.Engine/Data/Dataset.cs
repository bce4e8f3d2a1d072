using System.Text.Json;
using Platform.Text.Tokenization;

namespace Platform.Worker.Engine.Data;

/// <summary>What a data set's directory holds, in its <c>dataset.json</c>.</summary>
/// <param name="Version">Version of the format.</param>
/// <param name="Tokens">Number of tokens.</param>
/// <param name="TokenBytes">Bytes per token.</param>
/// <param name="VocabularySize">Tokens of the tokenizer.</param>
/// <param name="Documents">Documents that were read.</param>
public sealed record DatasetDescription(int Version, long Tokens, int TokenBytes, int VocabularySize, long Documents)
{
    /// <summary>Version this code writes and reads.</summary>
    public const int CurrentVersion = 1;

    /// <summary>Name of the file.</summary>
    public const string FileName = "dataset.json";
}

/// <summary>A data set that is ready to be trained on: tokens and the tokenizer they were made with.</summary>
public sealed class Dataset : IDisposable
{
    private static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower, WriteIndented = true };

    private Dataset(DatasetDescription description, TokenizerDirectory tokenizer, TokenFile tokens)
    {
        Description = description;
        Tokenizer = tokenizer;
        Tokens = tokens;
    }

    /// <summary>What it is.</summary>
    public DatasetDescription Description { get; }

    /// <summary>The tokenizer.</summary>
    public TokenizerDirectory Tokenizer { get; }

    /// <summary>The tokens.</summary>
    public TokenFile Tokens { get; }

    /// <summary>Whether a directory holds a finished data set.</summary>
    public static bool Exists(string directory) => File.Exists(Path.Combine(directory, DatasetDescription.FileName));

    /// <summary>Opens a data set.</summary>
    /// <exception cref="InputUnreadableException">It cannot be read or is damaged.</exception>
    public static Dataset Open(string directory)
    {
        try
        {
            var path = Path.Combine(directory, DatasetDescription.FileName);
            var description = JsonSerializer.Deserialize<DatasetDescription>(File.ReadAllBytes(path), Json);
            if (description is not { Version: DatasetDescription.CurrentVersion, TokenBytes: 2 or 4 })
                throw new InputUnreadableException($"{path} is not a description of a data set of version {DatasetDescription.CurrentVersion}.");
            var tokenizer = TokenizerDirectory.Open(directory);
            return new Dataset(
                description, tokenizer, TokenFile.Open(Path.Combine(directory, TokenFile.FileName), description.Tokens, description.TokenBytes));
        }
        catch (Exception refused) when (refused is IOException or UnauthorizedAccessException or JsonException or FormatException)
        {
            throw new InputUnreadableException($"The data set {directory} cannot be read: {refused.Message}", refused);
        }
    }

    /// <summary>The file's content.</summary>
    public static byte[] Describe(DatasetDescription description) => JsonSerializer.SerializeToUtf8Bytes(description, Json);

    /// <inheritdoc/>
    public void Dispose() => Tokens.Dispose();
}
