using Platform.Formats.Checkpoints;
using Platform.Formats.Safetensors;
using Platform.Torch.Parallel.Parameters;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Parallel.Checkpoints;

/// <summary>
/// A rank's weights and optimizer state to and from a checkpoint of global tensors. Master weights have the names of the
/// model's weights; moments have a prefix before them. What several ranks hold, one of them writes; every rank reads what it
/// holds, whatever layout wrote it. Frozen weights stay in the files they came from.
/// </summary>
public static class ParameterCheckpoint
{
    /// <summary>Before the name of a weight: its first moment.</summary>
    public const string FirstMomentPrefix = "optimizer.exp_avg.";

    /// <summary>Before the name of a weight: its second moment.</summary>
    public const string SecondMomentPrefix = "optimizer.exp_avg_sq.";

    /// <summary>Before the name of a weight: its momentum, where the optimizer keeps nothing else for it (Muon).</summary>
    public const string MomentumPrefix = "optimizer.momentum_buffer.";

    private const int WriteBytes = 64 << 20;

    private static readonly StateKind[] Kinds = [StateKind.Master, StateKind.FirstMoment, StateKind.SecondMoment];

    /// <summary>
    /// Writes what this rank owns into a shard; only ranks whose <see cref="ParameterStore.SavesState"/> is true call this.
    /// </summary>
    /// <param name="store">The rank's tensors.</param>
    /// <param name="directory">The checkpoint's directory; it must exist.</param>
    /// <param name="rank">World rank, which names the shard.</param>
    /// <returns>What the manifest says of the shard.</returns>
    /// <exception cref="IOException">Writing failed.</exception>
    public static CheckpointShard Write(ParameterStore store, string directory, int rank)
    {
        ArgumentNullException.ThrowIfNull(store);
        var saved = SavedParts(store);
        using var writer = CheckpointShardWriter.Create(directory, rank, [.. saved.Select(each => each.Part)]);
        for (var i = 0; i < saved.Count; i++)
        {
            using var own = saved[i].View();
            using var view = own.cpu();
            Write(writer, i, TensorMemory.DataPointer(view), TensorMemory.ByteLength(view));
            GC.KeepAlive(view);
        }

        return writer.Commit();
    }

    /// <summary>What this rank writes: parts of global tensors, and views of their elements that the caller disposes.</summary>
    internal static IReadOnlyList<(CheckpointPart Part, Func<Tensor> View)> SavedParts(ParameterStore store)
    {
        var type = store.Types.Master.ToTensorDataType();
        return
        [
            .. Kinds.SelectMany(store.Pieces).Where(piece => store.Layout.Owns(piece.Bundle)).Select(piece => (
                new CheckpointPart(NameOf(store, piece), type, TensorShape.Create([.. piece.Parameter.Shape]), piece.Box),
                (Func<Tensor>)(() => store.View(piece)))),
        ];
    }

    /// <summary>Writes all of a part, in blocks.</summary>
    internal static void Write(CheckpointShardWriter writer, int part, nint address, long length)
    {
        for (long done = 0; done < length; done += WriteBytes)
            WriteBlock(writer, part, address + (nint)done, (int)Math.Min(WriteBytes, length - done));
    }

    /// <summary>Reads everything this rank trains and rounds the weights to the compute type.</summary>
    /// <param name="store">The rank's tensors, overwritten.</param>
    /// <param name="reader">The checkpoint.</param>
    /// <exception cref="Formats.ModelFormatException">A tensor is missing.</exception>
    /// <exception cref="ArgumentException">A tensor has another shape or type than the model's.</exception>
    public static void Read(ParameterStore store, CheckpointReader reader)
    {
        ArgumentNullException.ThrowIfNull(store);
        ArgumentNullException.ThrowIfNull(reader);
        var type = store.Types.Master.ToTensorDataType();
        foreach (var piece in Kinds.SelectMany(store.Pieces))
        {
            var name = NameOf(store, piece);
            var saved = reader.Tensor(name);
            if (saved.DataType != type || !saved.Shape.SequenceEqual(piece.Parameter.Shape))
                throw new ArgumentException(
                    $"{name} is {saved.DataType} {saved.Shape} in the checkpoint; this job trains {type} [{string.Join(", ", piece.Parameter.Shape)}].",
                    nameof(reader));
            using var view = store.View(piece);
            using var host = view.cpu();
            ReadInto(reader, name, piece.Box, TensorMemory.DataPointer(host), TensorMemory.ByteLength(host));
            GC.KeepAlive(host);
            if (view.device_type != TorchSharp.DeviceType.CPU)
                view.copy_(host);
        }

        store.PublishMasters();
    }

    /// <summary>Name of the global tensor that a piece is a part of.</summary>
    public static string NameOf(ParameterStore store, StatePiece piece)
    {
        ArgumentNullException.ThrowIfNull(store);
        ArgumentNullException.ThrowIfNull(piece);
        var hasOneMoment = store.Storage.LayerMatricesHaveOneMoment && piece.Unit.Layer is not null && piece.Bundle.Decays;
        return piece.Kind switch
        {
            StateKind.Master => piece.Parameter.Name,
            StateKind.FirstMoment when hasOneMoment => MomentumPrefix + piece.Parameter.Name,
            StateKind.FirstMoment => FirstMomentPrefix + piece.Parameter.Name,
            StateKind.SecondMoment => SecondMomentPrefix + piece.Parameter.Name,
            _ => throw new ArgumentException($"{piece.Kind} is not saved.", nameof(piece)),
        };
    }

    private static unsafe void WriteBlock(CheckpointShardWriter writer, int part, nint address, int length) =>
        writer.Write(part, new ReadOnlySpan<byte>((void*)address, length));

    private static unsafe void ReadInto(CheckpointReader reader, string name, TensorBox box, nint address, long length) =>
        reader.ReadSlice(name, box, (byte*)address, length);
}
