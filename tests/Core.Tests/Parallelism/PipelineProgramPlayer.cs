using Platform.Core.Parallelism;
using Xunit;

namespace Platform.Core.Tests.Parallelism;

/// <summary>
/// Plays the programs of all stages against each other and checks what a runner relies on: inputs are there when they are
/// used, results are sent in the order of their computation, both ends of a message mean the same one, and nothing is left.
/// </summary>
internal sealed class PipelineProgramPlayer
{
    private readonly PipelineShape _shape;
    private readonly IReadOnlyList<IReadOnlyList<PipelineStep>> _programs;
    private readonly int[] _next;
    private readonly HashSet<PipelineAction>[] _arrived;
    private readonly Queue<PipelineTransfer>[] _results;

    public PipelineProgramPlayer(PipelineShape shape, IReadOnlyList<IReadOnlyList<PipelineStep>> programs)
    {
        (_shape, _programs, _next) = (shape, programs, new int[programs.Count]);
        _arrived = [.. programs.Select(_ => new HashSet<PipelineAction>())];
        _results = [.. programs.Select(_ => new Queue<PipelineTransfer>())];
    }

    /// <summary>The most messages that were ever under way in one direction between two stages.</summary>
    public int MostUnderWay { get; private set; }

    /// <summary>A step's messages are posted together; the step goes on when each has met its other end.</summary>
    public void PlayPaired()
    {
        var sends = _programs.Select(_ => new List<PipelineTransfer>()).ToArray();
        var receives = _programs.Select(_ => new List<PipelineTransfer>()).ToArray();
        for (var stage = 0; stage < _programs.Count; stage++)
            Post(stage);
        bool moved;
        do
        {
            moved = false;
            for (var stage = 0; stage < _programs.Count; stage++)
            {
                foreach (var peer in sends[stage].Select(transfer => transfer.Peer).Distinct().ToList())
                {
                    // Messages between two stages meet in their order.
                    var sent = sends[stage].First(transfer => transfer.Peer == peer);
                    if (receives[peer].FindIndex(transfer => transfer.Peer == stage) is var at && at < 0)
                        continue;
                    Assert.Equal(sent.Input, receives[peer][at].Input);
                    Assert.True(_arrived[peer].Add(sent.Input));
                    sends[stage].Remove(sent);
                    receives[peer].RemoveAt(at);
                    moved = true;
                }

                while (_next[stage] < _programs[stage].Count && sends[stage].Count + receives[stage].Count == 0)
                {
                    Compute(stage, _programs[stage][_next[stage]++]);
                    Post(stage);
                    moved = true;
                }
            }
        }
        while (moved);
        CheckEnd();

        void Post(int stage)
        {
            if (_next[stage] == _programs[stage].Count)
                return;
            var step = _programs[stage][_next[stage]];
            sends[stage].AddRange(step.Sends.Select(transfer => Result(stage, transfer)).Where(transfer => transfer.Peer != stage));
            receives[stage].AddRange(step.Receives);
        }
    }

    /// <summary>As the runner does it: sends, which wait for room on their way, then receives, then the computation.</summary>
    public void PlayBuffered(int room)
    {
        var ways = new Dictionary<(int From, int To), Queue<PipelineAction>>();
        var done = new int[_programs.Count];
        bool moved;
        do
        {
            moved = false;
            for (var stage = 0; stage < _programs.Count; stage++)
            {
                while (_next[stage] < _programs[stage].Count && TryMove(stage))
                    moved = true;
            }
        }
        while (moved);
        CheckEnd();
        Assert.All(ways.Values, Assert.Empty);

        bool TryMove(int stage)
        {
            var step = _programs[stage][_next[stage]];
            var place = done[stage]++;
            if (place < step.Sends.Length)
            {
                var transfer = step.Sends[place];
                if (transfer.Peer == stage)
                {
                    Result(stage, transfer);
                    return true;
                }

                var way = Way(stage, transfer.Peer);
                if (way.Count >= room)
                {
                    done[stage]--;
                    return false;
                }

                way.Enqueue(Result(stage, transfer).Input);
                MostUnderWay = Math.Max(MostUnderWay, way.Count);
                return true;
            }

            if (place < step.Sends.Length + step.Receives.Length)
            {
                var transfer = step.Receives[place - step.Sends.Length];
                if (!Way(transfer.Peer, stage).TryDequeue(out var input))
                {
                    done[stage]--;
                    return false;
                }

                Assert.Equal(transfer.Input, input);
                Assert.True(_arrived[stage].Add(input));
                return true;
            }

            Compute(stage, step);
            _next[stage]++;
            done[stage] = 0;
            return true;
        }

        Queue<PipelineAction> Way(int from, int to)
        {
            if (!ways.TryGetValue((from, to), out var way))
                ways.Add((from, to), way = new Queue<PipelineAction>());
            return way;
        }
    }

    private void Compute(int stage, PipelineStep step)
    {
        if (step.Action is not { } action)
            return;
        if (_shape.SourceOf(stage, action) is not null)
            Assert.True(_arrived[stage].Remove(action), $"{_shape}, stage {stage}: the input of {action} is not there.");
        if (_shape.ResultOf(stage, action) is { } result)
            _results[stage].Enqueue(result);
    }

    /// <summary>Takes the oldest result, which must be the one that is sent; one for the stage itself arrives at once.</summary>
    private PipelineTransfer Result(int stage, PipelineTransfer transfer)
    {
        Assert.Equal(_results[stage].Dequeue(), transfer);
        if (transfer.Peer == stage)
            Assert.True(_arrived[stage].Add(transfer.Input));
        return transfer;
    }

    private void CheckEnd()
    {
        for (var stage = 0; stage < _programs.Count; stage++)
        {
            Assert.True(_next[stage] == _programs[stage].Count, $"{_shape}: stage {stage} is stuck at step {_next[stage]} of {_programs[stage].Count}.");
            Assert.Empty(_arrived[stage]);
            Assert.Empty(_results[stage]);
        }
    }
}
