using System.Text;
using Grpc.Core;
using Platform.Hosting.Artifacts;
using Platform.Scheduling.Gangs;
using Platform.V1;

namespace Platform.Scheduler.Adapters;

/// <summary>Reads the logs that agents write to the artifact store: <c>{gang}/{attempt}/logs/rank-{r}.log</c>.</summary>
internal sealed class JobLogs(JobReader jobs, ArtifactOptions artifacts, TimeProvider time)
{
    private static readonly TimeSpan PollInterval = TimeSpan.FromMilliseconds(300);

    /// <summary>Sends the lines of the current attempt and, when following, of later ones until the job ends.</summary>
    public async Task StreamAsync(
        string project, string id, int? rank, bool follow, int tail, IServerStreamWriter<StreamLogsResponse> responses, CancellationToken cancellationToken)
    {
        var (_, gang) = await jobs.GetAsync(project, id, cancellationToken);
        int attempt = gang.Attempt?.Number ?? 0;
        var files = new Dictionary<int, LogTail>();
        while (true)
        {
            // The state first: whatever was written before the end is read after it.
            (_, gang) = await jobs.GetAsync(project, id, cancellationToken);
            foreach (int each in RanksOf(gang, attempt, rank))
            {
                string path = artifacts.Resolve($"{gang.Gang}/{attempt}/logs/rank-{each}.log");
                if (!files.TryGetValue(each, out var file) && File.Exists(path))
                {
                    files[each] = file = new LogTail(path, tail);
                }

                bool last = !follow || gang.IsTerminal || gang.Attempt?.Number > attempt;
                foreach (string line in file?.Read(last) ?? [])
                {
                    await responses.WriteAsync(new StreamLogsResponse { Attempt = attempt, Rank = each, Line = line }, cancellationToken);
                }
            }

            if (gang.Attempt?.Number > attempt && follow)
            {
                attempt = gang.Attempt.Number;
                files.Clear();
                tail = 0;
                continue;
            }

            if (!follow || gang.IsTerminal)
            {
                return;
            }

            await Task.Delay(PollInterval, time, cancellationToken);
        }
    }

    private static IEnumerable<int> RanksOf(GangState gang, int attempt, int? only) =>
        attempt == 0 ? [] : only is { } rank ? [rank] : Enumerable.Range(0, gang.Shape.Mesh.WorldSize);

    /// <summary>Reads a growing file line by line.</summary>
    private sealed class LogTail(string path, int tail)
    {
        private readonly StringBuilder partial = new();
        private readonly Decoder decoder = Encoding.UTF8.GetDecoder();
        private long position;
        private bool first = true;

        /// <summary>Lines completed since the last call; with <paramref name="last"/> also what follows the last line break.</summary>
        public IReadOnlyList<string> Read(bool last)
        {
            using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            stream.Seek(position, SeekOrigin.Begin);
            byte[] bytes = new byte[64 * 1024];
            char[] letters = new char[64 * 1024];
            var lines = new List<string>();
            for (int read; (read = stream.Read(bytes)) > 0; position += read)
            {
                int count = decoder.GetChars(bytes, 0, read, letters, 0, flush: false);
                foreach (char letter in letters.AsSpan(0, count))
                {
                    if (letter == '\n')
                    {
                        lines.Add(partial.ToString().TrimEnd('\r'));
                        partial.Clear();
                    }
                    else
                    {
                        partial.Append(letter);
                    }
                }
            }

            if (last && partial.Length > 0)
            {
                lines.Add(partial.ToString());
                partial.Clear();
            }

            bool cut = first && tail > 0 && lines.Count > tail;
            first = false;
            return cut ? lines[^tail..] : lines;
        }
    }
}
