using System.Runtime.InteropServices;
using Platform.Formats.Checkpoints;
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
    private byte* _memory;

    /// <summary>Bytes of the copy.</summary>
    public long ByteLength { get; private set; }

    /// <summary>Copies the state as it is now.</summary>
    /// <param name="store">The rank's tensors.</param>
    public void Take(ParameterStore store)
    {
        ArgumentNullException.ThrowIfNull(store);
        _parts.Clear();
        long end = 0;
        var saved = ParameterCheckpoint.SavedParts(store);
        foreach (var (part, _) in saved)
        {
            var length = part.Box.Shape.ByteLength(part.DataType);
            _parts.Add((part, end, length));
            end += length;
        }

        if (end != ByteLength || _memory is null)
        {
            NativeMemory.Free(_memory);
            _memory = (byte*)NativeMemory.Alloc((nuint)Math.Max(1, end));
            ByteLength = end;
        }

        for (var i = 0; i < saved.Count; i++)
        {
            using var view = saved[i].View();
            Copy(view, _memory + _parts[i].Offset, _parts[i].Length);
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
            ParameterCheckpoint.Write(writer, i, (nint)(_memory + _parts[i].Offset), _parts[i].Length);
        return writer.Commit();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        NativeMemory.Free(_memory);
        _memory = null;
        ByteLength = 0;
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
