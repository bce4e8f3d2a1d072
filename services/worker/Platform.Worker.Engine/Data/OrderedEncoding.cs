using System.Runtime.ExceptionServices;

namespace Platform.Worker.Engine.Data;

/// <summary>
/// Encodes documents on all processors and gives them on in the order in which they were read, so that what is written is what
/// one thread would write, and the first document that is wrong is the one that is named.
/// </summary>
public static class OrderedEncoding
{
    private const int BatchSize = 1 << 16;

    /// <summary>Encodes all documents.</summary>
    /// <param name="documents">Read on the calling thread, a bounded number of them ahead of what is written.</param>
    /// <param name="sizeOf">How large a document is, in characters; small ones travel together.</param>
    /// <param name="encode">Called by many threads at once.</param>
    /// <param name="write">Called on the calling thread, in the order of the documents.</param>
    public static void Run<T>(IEnumerable<T> documents, Func<T, int> sizeOf, Func<T, EncodedDocument?> encode, Action<EncodedDocument> write)
    {
        ArgumentNullException.ThrowIfNull(documents);
        ArgumentNullException.ThrowIfNull(sizeOf);
        ArgumentNullException.ThrowIfNull(encode);
        ArgumentNullException.ThrowIfNull(write);
        var most = 2 * Environment.ProcessorCount;
        var pending = new Queue<Task<List<EncodedDocument?>>>(most);
        using var source = documents.GetEnumerator();
        ExceptionDispatchInfo? unread = null;
        try
        {
            while (unread is null && NextBatch() is { } batch)
            {
                if (pending.Count == most)
                    WriteOldest();
                pending.Enqueue(Task.Run(() => batch.ConvertAll(document => encode(document))));
            }

            while (pending.Count > 0)
                WriteOldest();
            unread?.Throw();
        }
        finally
        {
            // Whatever failed, nothing of it runs on.
            while (pending.TryDequeue(out var left))
                ((IAsyncResult)left).AsyncWaitHandle.WaitOne();
        }

        void WriteOldest()
        {
            foreach (var document in pending.Dequeue().GetAwaiter().GetResult())
            {
                if (document is { Length: > 0 })
                    write(document);
            }
        }

        List<T>? NextBatch()
        {
            var batch = new List<T>();
            try
            {
                for (long size = 0; size < BatchSize && source.MoveNext(); size += sizeOf(source.Current))
                    batch.Add(source.Current);
            }
            catch (Exception failure)
            {
                // Documents before it may be wrong too, and are then the ones to name.
                unread = ExceptionDispatchInfo.Capture(failure);
            }

            return batch.Count == 0 ? null : batch;
        }
    }
}
