using Platform.Core.Gangs;
using Platform.Torch.Collectives;

namespace Platform.Torch.Timelines;

/// <summary>
/// A group that records its operations. Waiting for a message of another stage is bubble; the transfer itself, which cannot
/// be told apart from it, counts with it.
/// </summary>
/// <param name="inner">The group.</param>
/// <param name="recorder">Takes the spans.</param>
/// <param name="isPipeline">Its members are pipeline stages.</param>
/// <param name="waitsForStages">Its collectives wait for stages that finish later.</param>
internal sealed class RecordingGroup(ICollectiveGroup inner, StepRecorder recorder, bool isPipeline, Func<bool> waitsForStages) : ICollectiveGroup
{
    private readonly string _allReduce = $"all-reduce {inner.Name}";
    private readonly string _reduceScatter = $"reduce-scatter {inner.Name}";
    private readonly string _allGather = $"all-gather {inner.Name}";
    private readonly string _broadcast = $"broadcast {inner.Name}";
    private readonly string _barrier = $"barrier {inner.Name}";
    private readonly string _send = isPipeline ? "send" : $"send {inner.Name}";
    private readonly string _receive = isPipeline ? "recv" : $"recv {inner.Name}";

    public string Name => inner.Name;

    public int Rank => inner.Rank;

    public int Size => inner.Size;

    public IReadOnlyList<int> Members => inner.Members;

    public long Sequence => inner.Sequence;

    public CollectiveStatus Status => inner.Status;

    private StepPart Meeting => waitsForStages() ? StepPart.Bubble : StepPart.Communication;

    private StepPart Receiving => isPipeline ? StepPart.Bubble : StepPart.Communication;

    public void AllReduce(CollectiveBuffer buffer, ReduceOperation operation)
    {
        using var span = recorder.Begin(Meeting, _allReduce, bytes: 2 * ShareSent(buffer));
        inner.AllReduce(buffer, operation);
    }

    public void ReduceScatter(CollectiveBuffer input, CollectiveBuffer output, ReduceOperation operation)
    {
        using var span = recorder.Begin(Meeting, _reduceScatter, bytes: ShareSent(input));
        inner.ReduceScatter(input, output, operation);
    }

    public void AllGather(CollectiveBuffer input, CollectiveBuffer output)
    {
        using var span = recorder.Begin(Meeting, _allGather, bytes: ShareSent(output));
        inner.AllGather(input, output);
    }

    public void Broadcast(CollectiveBuffer buffer, int root)
    {
        using var span = recorder.Begin(Meeting, _broadcast, bytes: ShareSent(buffer));
        inner.Broadcast(buffer, root);
    }

    public void Barrier()
    {
        using var span = recorder.Begin(Meeting, _barrier);
        inner.Barrier();
    }

    public void Send(CollectiveBuffer buffer, int peer)
    {
        using var span = recorder.Begin(StepPart.Communication, _send, bytes: buffer.LengthBytes);
        inner.Send(buffer, peer);
    }

    public void Receive(CollectiveBuffer buffer, int peer)
    {
        using var span = recorder.Begin(Receiving, _receive);
        inner.Receive(buffer, peer);
    }

    public void PostReceive(CollectiveBuffer buffer, int peer) => inner.PostReceive(buffer, peer);

    public void SendReceive(CollectiveBuffer send, int destination, CollectiveBuffer receive, int source)
    {
        using var span = recorder.Begin(Receiving, _receive, bytes: send.LengthBytes);
        inner.SendReceive(send, destination, receive, source);
    }

    public void Abort(string reason) => inner.Abort(reason);

    public void Dispose() => inner.Dispose();

    private long ShareSent(CollectiveBuffer whole) => whole.LengthBytes * (inner.Size - 1) / inner.Size;
}
