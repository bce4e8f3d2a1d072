using Platform.Formats.Checkpoints;
using Platform.Formats.Safetensors;
using Platform.Torch.Parallel.Parameters;

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

    private const int WriteBytes = 64 << 20;

    private static readonly (StateKind Kind, string Prefix)[] States =
    [
        (StateKind.Master, ""), (StateKind.FirstMoment, FirstMomentPrefix), (StateKind.SecondMoment, SecondMomentPrefix),
    ];

    /// <summary>Writes what this rank owns into a shard; only ranks with data coordinate 0 call this.</summary>
    /// <param name="store">The rank's tensors.</param>
    /// <param name="directory">The checkpoint's directory; it must exist.</param>
    /// <param name="rank">World rank, which names the shard.</param>
    /// <returns>What the manifest says of the shard.</returns>
    /// <exception cref="IOException">Writing failed.</exception>
    public static CheckpointShard Write(ParameterStore store, string directory, int rank)
    {
        ArgumentNullException.ThrowIfNull(store);
        var type = store.Types.Master.ToTensorDataType();
        var parts = Parts(store).Where(part => store.Layout.Owns(part.Parameter.Bundle) && part.Part.Slice.Length > 0).ToList();
        using var writer = CheckpointShardWriter.Create(directory, rank, [.. parts.Select(part => new CheckpointPart(
            part.Name, type, TensorShape.Create([.. part.Part.Parameter.Shape]), BoxOf(part.Part)))]);
        for (var i = 0; i < parts.Count; i++)
        {
            using var view = store.PartView(parts[i].Kind, parts[i].Parameter, parts[i].Part);
            var (address, length) = (TensorMemory.DataPointer(view), TensorMemory.ByteLength(view));
            for (long done = 0; done < length; done += WriteBytes)
                WriteBlock(writer, i, address + (nint)done, (int)Math.Min(WriteBytes, length - done));
            GC.KeepAlive(view);
        }

        return writer.Commit();
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
        foreach (var (kind, name, parameter, part) in Parts(store).Where(part => part.Part.Slice.Length > 0))
        {
            var saved = reader.Tensor(name);
            if (saved.DataType != type || !saved.Shape.SequenceEqual(part.Parameter.Shape))
                throw new ArgumentException(
                    $"{name} is {saved.DataType} {saved.Shape} in the checkpoint; this job trains {type} [{string.Join(", ", part.Parameter.Shape)}].",
                    nameof(reader));
            using var view = store.PartView(kind, parameter, part);
            ReadInto(reader, name, BoxOf(part), TensorMemory.DataPointer(view), TensorMemory.ByteLength(view));
            GC.KeepAlive(view);
        }

        store.PublishMasters();
    }

    private static unsafe void WriteBlock(CheckpointShardWriter writer, int part, nint address, int length) =>
        writer.Write(part, new ReadOnlySpan<byte>((void*)address, length));

    private static unsafe void ReadInto(CheckpointReader reader, string name, TensorBox box, nint address, long length) =>
        reader.ReadSlice(name, box, (byte*)address, length);

    private static TensorBox BoxOf(BundlePart part) => TensorBox.Slice(
        TensorShape.Create([.. part.Parameter.Shape]), part.Slice.Dimension, part.Slice.Start, part.Slice.Length);

    private static IEnumerable<(StateKind Kind, string Name, StoredParameter Parameter, BundlePart Part)> Parts(ParameterStore store) =>
        from parameter in store.Trained
        from part in parameter.Bundle.Parts
        from state in States
        select (state.Kind, state.Prefix + part.Parameter.Name, parameter, part);
}
