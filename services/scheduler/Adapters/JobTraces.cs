using System.Text;
using Google.Protobuf;
using Grpc.Core;
using Platform.Core;
using Platform.Hosting.Artifacts;
using Platform.Hosting.Errors;
using Platform.Scheduler.Core;
using Platform.V1;

namespace Platform.Scheduler.Adapters;

/// <summary>
/// Joins the timelines that ranks write to the artifact store, one Chrome trace event per line, into one document
/// (Trace Event Format, JSON object form).
/// </summary>
internal sealed class JobTraces(JobReader jobs, ArtifactOptions artifacts)
{
    private const int ChunkBytes = 256 * 1024;

    /// <summary>Sends the document of the last attempt that has one.</summary>
    /// <exception cref="NotFoundException">There is no such job, or no rank has written a timeline.</exception>
    public async Task StreamAsync(string project, string id, IServerStreamWriter<GetTraceResponse> responses, CancellationToken cancellationToken)
    {
        var (_, gang) = await jobs.GetAsync(project, id, cancellationToken);
        var files = Enumerable.Range(0, gang.Attempt?.Number ?? 0).Select(back => (gang.Attempt?.Number ?? 0) - back)
            .Select(attempt => Enumerable.Range(0, gang.Shape.Mesh.WorldSize)
                .Select(rank => artifacts.Resolve(ArtifactLayout.Trace(gang.Gang, attempt, rank))).Where(File.Exists).ToList())
            .FirstOrDefault(some => some.Count > 0)
            ?? throw new NotFoundException($"{ResourceNames.Job(project, id)}/trace");

        var chunk = new StringBuilder("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n");
        bool first = true;
        foreach (string file in files)
        {
            await foreach (string line in File.ReadLinesAsync(file, cancellationToken))
            {
                if (line.Length == 0)
                {
                    continue;
                }

                chunk.Append(first ? "" : ",\n").Append(line);
                first = false;
                if (chunk.Length >= ChunkBytes)
                {
                    await SendAsync(chunk, responses, cancellationToken);
                }
            }
        }

        chunk.Append("\n]}\n");
        await SendAsync(chunk, responses, cancellationToken);
    }

    private static async Task SendAsync(StringBuilder chunk, IServerStreamWriter<GetTraceResponse> responses, CancellationToken cancellationToken)
    {
        await responses.WriteAsync(new GetTraceResponse { Chunk = ByteString.CopyFromUtf8(chunk.ToString()) }, cancellationToken);
        chunk.Clear();
    }
}
