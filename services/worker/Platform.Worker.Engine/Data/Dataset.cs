using System.Text.Json;
using System.Text.Json.Serialization;
using Platform.Text.Tokenization;

namespace Platform.Worker.Engine.Data;

/// <summary>Tokens of one source of a mixture, or of all sources.</summary>
/// <param name="Source">The source as the job names it; empty for all of them.</param>
/// <param name="File">File of tokens.</param>
/// <param name="LearntFile">File that says which tokens are learnt; null when all are.</param>
/// <param name="Tokens">Number of tokens.</param>
/// <param name="Documents">Documents that were read.</param>
public sealed record DatasetShard(string Source, string File, string? LearntFile, long Tokens, long Documents);

/// <summary>What a data set's directory holds, in its <c>dataset.json</c>.</summary>
/// <param name="Version">Version of the format.</param>
/// <param name="TokenBytes">Bytes per token.</param>
/// <param name="VocabularySize">Tokens of the tokenizer.</param>
/// <param name="Shards">The tokens.</param>
/// <param name="EndOfTurnIds">Tokens that end what an assistant says in conversations.</param>
public sealed record DatasetDescription(
    int Version, int TokenBytes, int VocabularySize, IReadOnlyList<DatasetShard> Shards, IReadOnlyList<int> EndOfTurnIds)
{
    /// <summary>Version this code writes and reads.</summary>
    public const int CurrentVersion = 2;

    /// <summary>Name of the file.</summary>
    public const string FileName = "dataset.json";

    /// <summary>Number of tokens.</summary>
    [JsonIgnore]
    public long Tokens => Shards.Sum(shard => shard.Tokens);

    /// <summary>Documents that were read.</summary>
    [JsonIgnore]
    public long Documents => Shards.Sum(shard => shard.Documents);
}

/// <summary>A data set that is ready to be trained on: tokens and the tokenizer they were made with.</summary>
public sealed class Dataset : IDisposable
{
    private static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower, WriteIndented = true };

    private readonly List<TokenFile> _shards = [];

    private Dataset(DatasetDescription description, TokenizerDirectory tokenizer) => (Description, Tokenizer) = (description, tokenizer);

    /// <summary>What it is.</summary>
    public DatasetDescription Description { get; }

    /// <summary>The tokenizer.</summary>
    public TokenizerDirectory Tokenizer { get; }

    /// <summary>The tokens, shard by shard as in <see cref="DatasetDescription.Shards"/>.</summary>
    public IReadOnlyList<TokenFile> Shards => _shards;

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
            if (description is not { Version: DatasetDescription.CurrentVersion, TokenBytes: 2 or 4, Shards.Count: > 0, EndOfTurnIds: not null })
                throw new InputUnreadableException($"{path} is not a description of a data set of version {DatasetDescription.CurrentVersion}.");
            var dataset = new Dataset(description, TokenizerDirectory.Open(directory));
            try
            {
                foreach (var shard in description.Shards)
                    dataset._shards.Add(TokenFile.Open(
                        Path.Combine(directory, shard.File), shard.Tokens, description.TokenBytes,
                        shard.LearntFile is null ? null : Path.Combine(directory, shard.LearntFile)));
            }
            catch
            {
                dataset.Dispose();
                throw;
            }

            return dataset;
        }
        catch (Exception refused) when (refused is IOException or UnauthorizedAccessException or JsonException or FormatException)
        {
            throw new InputUnreadableException($"The data set {directory} cannot be read: {refused.Message}", refused);
        }
    }

    /// <summary>The file's content.</summary>
    public static byte[] Describe(DatasetDescription description) => JsonSerializer.SerializeToUtf8Bytes(description, Json);

    /// <inheritdoc/>
    public void Dispose() => _shards.ForEach(shard => shard.Dispose());
}
