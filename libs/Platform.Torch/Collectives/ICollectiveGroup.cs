namespace Platform.Torch.Collectives;

/// <summary>
/// A communicator over an ordered set of ranks. Every member calls the same collectives in the same order with the same
/// sizes; each call blocks until this rank's part is done and its buffers may be reused.
/// </summary>
/// <remarks>
/// <para>
/// Ranks in parameters (<c>root</c>, <c>peer</c>) are ranks of the group, indices into <see cref="Members"/>. Messages and
/// exceptions name ranks of the world.
/// </para>
/// <para>
/// One operation runs at a time in a group. Different groups may be used from different threads at once, so work that
/// should overlap gets a group of its own.
/// </para>
/// <para>
/// Reductions of host memory fold in rank order (see <see cref="ReduceOperation"/>): the result is the same bit for bit on
/// every rank, in every run and in every implementation. Those of device memory fold in the order of the library that does
/// them, the same on every rank.
/// </para>
/// <para>
/// Every wait ends after the group's timeout. A failed operation leaves buffers undefined and aborts the whole world: what
/// follows in any of its groups throws <see cref="CollectiveAbortedException"/> with the first reason.
/// </para>
/// </remarks>
public interface ICollectiveGroup : IDisposable
{
    /// <summary>Name for people, such as "tensor group 2"; unique in the world.</summary>
    string Name { get; }

    /// <summary>This process's rank in the group.</summary>
    int Rank { get; }

    /// <summary>Number of members.</summary>
    int Size { get; }

    /// <summary>World ranks of the members, by rank in the group.</summary>
    IReadOnlyList<int> Members { get; }

    /// <summary>Number of the last collective entered; the first is 1, 0 before it. Messages are numbered per edge and do not count.</summary>
    long Sequence { get; }

    /// <summary>What this rank is doing in the group now; may be read from any thread.</summary>
    CollectiveStatus Status { get; }

    /// <summary>Replaces the buffer on every rank by the reduction of all of them.</summary>
    void AllReduce(CollectiveBuffer buffer, ReduceOperation operation);

    /// <summary>
    /// Reduces the inputs and leaves part <see cref="Rank"/> of the result in <paramref name="output"/>:
    /// input count = output count × <see cref="Size"/>. The output may be that part of the input itself, or lie outside it.
    /// </summary>
    void ReduceScatter(CollectiveBuffer input, CollectiveBuffer output, ReduceOperation operation);

    /// <summary>
    /// Concatenates the inputs in rank order into every rank's output: output count = input count × <see cref="Size"/>.
    /// The input may be part <see cref="Rank"/> of the output itself, or lie outside it.
    /// </summary>
    void AllGather(CollectiveBuffer input, CollectiveBuffer output);

    /// <summary>Copies the root's buffer to every rank.</summary>
    void Broadcast(CollectiveBuffer buffer, int root);

    /// <summary>Returns once every rank has entered.</summary>
    void Barrier();

    /// <summary>
    /// Sends a message to a peer. Returns once the payload is copied away. At least one message per direction of a pair is
    /// buffered whether or not the peer receives; once a bounded number are, the call blocks.
    /// </summary>
    void Send(CollectiveBuffer buffer, int peer);

    /// <summary>
    /// Begins to take in the next message from a peer beside other work, so that the <see cref="Receive"/> of it, which follows
    /// with the same buffer and needs no such call before it, finds as much of it as has come. Never waits. One message per peer
    /// at a time. The buffer is not read, stays in place, and may be written to from now on.
    /// </summary>
    /// <remarks>Groups that hold all of such a message anyway, or do not know their peer yet, do nothing.</remarks>
    void PostReceive(CollectiveBuffer buffer, int peer)
    {
    }

    /// <summary>Receives the next message from a peer, which must have the same element type and count.</summary>
    void Receive(CollectiveBuffer buffer, int peer);

    /// <summary>Sends to one peer and receives from another (or the same) as one step of a paired exchange, which cannot deadlock.</summary>
    void SendReceive(CollectiveBuffer send, int destination, CollectiveBuffer receive, int source);

    /// <summary>Aborts the world: wakes every waiter here and at the peers; the first reason stands. May be called from any thread.</summary>
    void Abort(string reason);
}
