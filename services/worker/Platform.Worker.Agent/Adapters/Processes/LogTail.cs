using System.Text;

namespace Platform.Worker.Agent.Adapters.Processes;

/// <summary>The last lines of a log file.</summary>
internal static class LogTail
{
    private const int MaxBytes = 16 << 10;
    private const int MaxLines = 40;
    private const int MaxLineLength = 500;

    /// <summary>At most 40 lines of at most 500 characters from the last 16 KiB; none when there is no file.</summary>
    public static IReadOnlyList<string> Read(string path)
    {
        try
        {
            using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            bool isCut = stream.Length > MaxBytes;
            stream.Seek(isCut ? -MaxBytes : 0, isCut ? SeekOrigin.End : SeekOrigin.Begin);
            var bytes = new byte[MaxBytes];
            int count = stream.ReadAtLeast(bytes, MaxBytes, throwOnEndOfStream: false);
            string[] lines = Encoding.UTF8.GetString(bytes, 0, count).Split('\n', StringSplitOptions.RemoveEmptyEntries);
            // The first of a cut file is only the end of a line.
            return [.. lines.Skip(isCut && lines.Length > 1 ? 1 : 0).TakeLast(MaxLines).Select(Shorten)];
        }
        catch (IOException)
        {
            return [];
        }
    }

    private static string Shorten(string line) =>
        line.Length <= MaxLineLength ? line.TrimEnd('\r') : line[..MaxLineLength] + "…";
}
