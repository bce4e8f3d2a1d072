using System.Globalization;

namespace Platform.Formats.Checkpoints;

/// <summary>Folders of checkpoints of one gang: <c>{gang}/{attempt}/{step}</c>, the step in eight digits.</summary>
public static class CheckpointFolders
{
    private const int StepDigits = 8;

    /// <summary>All of them, by their full paths, those of checkpoints that do not exist included.</summary>
    /// <param name="artifactRoot">Root of the artifact store.</param>
    /// <param name="gang">The gang.</param>
    public static IReadOnlyList<string> All(string artifactRoot, string gang) => Of(artifactRoot, gang, int.MaxValue);

    /// <summary>
    /// Folders of checkpoints that do not exist: half-written ones of attempts that died, damaged ones that were given up, and
    /// those whose deletion was interrupted.
    /// </summary>
    /// <param name="artifactRoot">Root of the artifact store.</param>
    /// <param name="gang">The gang.</param>
    /// <param name="attempt">The attempt that runs; nothing is being written in it. Later attempts' folders are left alone.</param>
    /// <param name="kept">Checkpoints that exist, relative to the root.</param>
    public static IReadOnlyList<string> Leftovers(string artifactRoot, string gang, int attempt, IReadOnlyList<string> kept)
    {
        ArgumentNullException.ThrowIfNull(kept);
        var exist = kept.Select(directory => Path.GetFullPath(Path.Combine(artifactRoot, directory))).ToHashSet(StringComparer.Ordinal);
        return [.. Of(artifactRoot, gang, attempt).Where(folder => !exist.Contains(folder))];
    }

    /// <summary>Deletes a folder, the manifest first: what is left of an interrupted deletion is not a checkpoint.</summary>
    /// <exception cref="IOException">It cannot be deleted.</exception>
    public static void Delete(string path)
    {
        if (!Directory.Exists(path))
            return;
        File.Delete(Path.Combine(path, CheckpointManifest.FileName));
        Directory.Delete(path, recursive: true);
    }

    private static string[] Of(string artifactRoot, string gang, int lastAttempt)
    {
        var home = Path.Combine(artifactRoot, gang);
        if (!Directory.Exists(home))
            return [];
        return
        [
            .. Directory.EnumerateDirectories(home)
                .Where(folder => int.TryParse(Path.GetFileName(folder), NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number <= lastAttempt)
                .SelectMany(Directory.EnumerateDirectories)
                .Where(folder => Path.GetFileName(folder) is { Length: StepDigits } name && name.All(char.IsAsciiDigit))
                .Select(Path.GetFullPath).Order(StringComparer.Ordinal),
        ];
    }
}
