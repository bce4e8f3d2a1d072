using System.Runtime.InteropServices;

namespace Platform.Torch.Collectives;

internal enum CollectiveKind
{
    None,
    AllReduce,
    ReduceScatter,
    AllGather,
    Broadcast,
    Barrier,
    Message,
}

/// <summary>
/// What a rank says it is about to do: equal signatures under equal numbers mean that the ranks agree. Blittable, because
/// it travels as it is through shared memory and over sockets of hosts with the same byte order.
/// </summary>
[StructLayout(LayoutKind.Sequential, Pack = 8)]
internal readonly record struct OperationSignature(
    long Sequence,
    long Count,
    int Kind,
    int Element,
    int Operation,
    int Root)
{
    public const int Size = 32;

    public static OperationSignature Collective(
        CollectiveKind kind, long sequence, long count, CollectiveElement element, ReduceOperation operation, int root) =>
        new(sequence, count, (int)kind, (int)element, (int)operation, root);

    public static OperationSignature Message(long number, CollectiveBuffer buffer) =>
        new(number, buffer.Count, (int)CollectiveKind.Message, (int)buffer.Element, 0, 0);

    /// <summary>Name and number: "all-reduce #4711".</summary>
    public string Name => $"{KindName((CollectiveKind)Kind)} #{Sequence}";

    /// <summary>Everything two ranks must agree on.</summary>
    public string Describe()
    {
        var kind = (CollectiveKind)Kind;
        if (kind == CollectiveKind.Barrier)
            return Name;
        var what = $"{Name} of {Count} {((CollectiveElement)Element).Describe()}";
        return kind switch
        {
            CollectiveKind.AllReduce or CollectiveKind.ReduceScatter => $"{what} ({(ReduceOperation)Operation})",
            CollectiveKind.Broadcast => $"{what} from member {Root}",
            _ => what,
        };
    }

    private static string KindName(CollectiveKind kind) => kind switch
    {
        CollectiveKind.AllReduce => "all-reduce",
        CollectiveKind.ReduceScatter => "reduce-scatter",
        CollectiveKind.AllGather => "all-gather",
        CollectiveKind.Broadcast => "broadcast",
        CollectiveKind.Barrier => "barrier",
        CollectiveKind.Message => "message",
        _ => "unknown operation",
    };
}
