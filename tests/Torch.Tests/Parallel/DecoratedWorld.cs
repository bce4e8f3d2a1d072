using Platform.Torch.Collectives;

namespace Platform.Torch.Tests.Parallelism;

/// <summary>A world whose data groups call the test before each collective, on whatever thread it runs.</summary>
/// <param name="inner">The world.</param>
/// <param name="before">Gets the kind of the collective and its number among those of the kind, from 1.</param>
internal sealed class DecoratedWorld(ICollectiveWorld inner, Action<string, int> before) : ICollectiveWorld
{
    public int Rank => inner.Rank;

    public int Size => inner.Size;

    public string? AbortReason => inner.AbortReason;

    public CancellationToken Aborted => inner.Aborted;

    public ICollectiveGroup CreateGroup(string name, IReadOnlyList<int> members)
    {
        var group = inner.CreateGroup(name, members);
        return name.StartsWith("data", StringComparison.Ordinal) ? new Decorated(group, before) : group;
    }

    public IReadOnlyList<CollectiveStatus> Status() => inner.Status();

    public void Abort(string reason) => inner.Abort(reason);

    public void Dispose() => inner.Dispose();

    private sealed class Decorated(ICollectiveGroup inner, Action<string, int> before) : ICollectiveGroup
    {
        private readonly Dictionary<string, int> _numbers = [];

        public string Name => inner.Name;

        public int Rank => inner.Rank;

        public int Size => inner.Size;

        public IReadOnlyList<int> Members => inner.Members;

        public long Sequence => inner.Sequence;

        public CollectiveStatus Status => inner.Status;

        public void AllReduce(CollectiveBuffer buffer, ReduceOperation operation)
        {
            Announce("reduce");
            inner.AllReduce(buffer, operation);
        }

        public void ReduceScatter(CollectiveBuffer input, CollectiveBuffer output, ReduceOperation operation)
        {
            Announce("reduce");
            inner.ReduceScatter(input, output, operation);
        }

        public void AllGather(CollectiveBuffer input, CollectiveBuffer output)
        {
            Announce("gather");
            inner.AllGather(input, output);
        }

        public void Broadcast(CollectiveBuffer buffer, int root) => inner.Broadcast(buffer, root);

        public void Barrier() => inner.Barrier();

        public void Send(CollectiveBuffer buffer, int peer) => inner.Send(buffer, peer);

        public void Receive(CollectiveBuffer buffer, int peer) => inner.Receive(buffer, peer);

        public void SendReceive(CollectiveBuffer send, int destination, CollectiveBuffer receive, int source) =>
            inner.SendReceive(send, destination, receive, source);

        public void Abort(string reason) => inner.Abort(reason);

        public void Dispose() => inner.Dispose();

        private void Announce(string kind)
        {
            var number = _numbers[kind] = _numbers.GetValueOrDefault(kind) + 1;
            before(kind, number);
        }
    }
}
