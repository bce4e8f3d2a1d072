using Platform.Core.Parallelism;
using Platform.Torch.Collectives;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch.Parallel;

/// <summary>
/// The messages that a stage receives in one step, of each peer in the order of the program. While the stage computes, the next
/// one of every peer is on its way into memory of its own, so that only what has not been sent yet is waited for.
/// </summary>
internal sealed class PostedReceives : IDisposable
{
    private readonly Dictionary<int, Tensor> _posted = [];
    private readonly Dictionary<int, int> _left;
    private readonly ICollectiveGroup _group;
    private readonly Func<Tensor> _empty;

    /// <param name="group">The stages.</param>
    /// <param name="empty">Makes room for a message.</param>
    /// <param name="program">What the stage does in the step.</param>
    public PostedReceives(ICollectiveGroup group, Func<Tensor> empty, IEnumerable<PipelineStep> program)
    {
        (_group, _empty) = (group, empty);
        _left = program.SelectMany(step => step.Receives).CountBy(transfer => transfer.Peer).ToDictionary();
    }

    /// <summary>Begins the next receive of each peer that has one left and none begun. Call it before computing.</summary>
    public void Post()
    {
        foreach (var (peer, left) in _left)
        {
            if (left == 0 || _posted.ContainsKey(peer))
                continue;
            var room = _empty().DetachFromDisposeScope();
            _posted.Add(peer, room);
            _group.PostReceive(GroupTensors.BufferOf(room), peer);
        }
    }

    /// <summary>Waits for the next message of a peer; the caller owns it.</summary>
    public Tensor Take(int peer)
    {
        if (!_posted.Remove(peer, out var message))
            message = _empty().DetachFromDisposeScope();
        _left[peer]--;
        try
        {
            _group.Receive(message, peer);
            return message;
        }
        catch
        {
            message.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var room in _posted.Values)
            room.Dispose();
        _posted.Clear();
    }
}
