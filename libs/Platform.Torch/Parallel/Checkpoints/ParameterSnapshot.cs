using Platform.Formats.Checkpoints;
using Platform.Torch.Native;
using Platform.Torch.Parallel.Parameters;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Parallel.Checkpoints;

/// <summary>
/// A copy in host memory of what a rank writes into a checkpoint, so that training goes on while it is written. Its memory is
/// as large as what it holds and is used again by the next one.
/// </summary>
/// <remarks>Taken by the thread that trains, written by another; never both at once, which is the caller's to see to.</remarks>
public sealed unsafe class ParameterSnapshot : IDisposable
{
    private readonly List<(CheckpointPart Part, long Offset, long Length)> _parts = [];
    private PageMemory? _memory;
    private (Thread Thread, CancellationTokenSource Stop)? _touching;

    /// <summary>Bytes of the copy.</summary>
    public long ByteLength => _memory?.Length ?? 0;

    /// <summary>
    /// Has the memory of the copies to come made ready on a thread of its own: the first copy into memory that the system has
    /// yet to find takes many times as long as the ones after it.
    /// </summary>
    /// <param name="store">The rank's tensors.</param>
    public void Prepare(ParameterStore store)
    {
        ArgumentNullException.ThrowIfNull(store);
        if (Reserve(ParameterCheckpoint.SavedParts(store)) is not { } memory)
            return;
        var stop = new CancellationTokenSource();
        var thread = new Thread(() => memory.Touch(stop.Token)) { IsBackground = true, Name = "memory of checkpoints" };
        _touching = (thread, stop);
        thread.Start();
    }

    /// <summary>Copies the state as it is now.</summary>
    /// <param name="store">The rank's tensors.</param>
    public void Take(ParameterStore store)
    {
        ArgumentNullException.ThrowIfNull(store);
        EndTouching();
        var saved = ParameterCheckpoint.SavedParts(store);
        Reserve(saved);
        for (var i = 0; i < saved.Count; i++)
        {
            using var view = saved[i].View();
            Copy(view, Address(i), _parts[i].Length);
        }
    }

    /// <summary>Writes the copy into a shard: the same bytes that <see cref="ParameterCheckpoint.Write(ParameterStore, string, int)"/> writes.</summary>
    /// <param name="directory">The checkpoint's directory; it must exist.</param>
    /// <param name="rank">World rank, which names the shard.</param>
    /// <returns>What the manifest says of the shard.</returns>
    /// <exception cref="IOException">Writing failed.</exception>
    public CheckpointShard Write(string directory, int rank)
    {
        using var writer = CheckpointShardWriter.Create(directory, rank, [.. _parts.Select(part => part.Part)]);
        for (var i = 0; i < _parts.Count; i++)
            ParameterCheckpoint.Write(writer, i, (nint)Address(i), _parts[i].Length);
        return writer.Commit();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        EndTouching();
        _memory?.Dispose();
        _memory = null;
    }

    /// <summary>Lays the parts out and sees to memory for them; null when there is nothing new to make ready.</summary>
    private PageMemory? Reserve(IReadOnlyList<(CheckpointPart Part, Func<Tensor> View)> saved)
    {
        _parts.Clear();
        long end = 0;
        foreach (var (part, _) in saved)
        {
            var length = part.Box.Shape.ByteLength(part.DataType);
            _parts.Add((part, end, length));
            end += length;
        }

        if (_memory?.Length == end)
            return null;
        EndTouching();
        _memory?.Dispose();
        return _memory = new PageMemory(end);
    }

    private byte* Address(int part) =>
        (_memory ?? throw new InvalidOperationException("No copy was taken.")).Start + _parts[part].Offset;

    /// <summary>Whatever is not ready by now the copy itself makes so.</summary>
    private void EndTouching()
    {
        if (_touching is not { } touching)
            return;
        _touching = null;
        touching.Stop.Cancel();
        touching.Thread.Join();
        touching.Stop.Dispose();
    }

    private static void Copy(Tensor view, byte* destination, long length)
    {
        using var host = view.cpu();
        if (TensorMemory.ByteLength(host) != length)
            throw new InvalidOperationException($"A part of {length} bytes is a tensor of {TensorMemory.ByteLength(host)}.");
        Buffer.MemoryCopy((void*)TensorMemory.DataPointer(host), destination, length, length);
        GC.KeepAlive(host);
    }
}
