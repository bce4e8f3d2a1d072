using System.Runtime.InteropServices;

namespace Platform.Serving.Core.Constraints;

/// <summary>
/// An expression as a finite automaton over the bytes of UTF-8 text: a nondeterministic one made at once (Thompson 1968), whose
/// deterministic states are made when they are first reached. Both the automaton and each step of work on it are bounded.
/// Not thread-safe.
/// </summary>
internal sealed class ByteAutomaton
{
    private const int MostNodes = 30_000;
    private const int MostParts = 300_000;
    private const int MostStates = 4_096;
    private const int StepsOfOneCall = 2_000_000;

    private readonly List<Node> _nodes = [];
    private readonly Dictionary<string, AutomatonState> _states = [];
    private readonly int _end;
    private readonly int[] _seen;
    private int _stamp;
    private int _parts;
    private long _steps;

    /// <summary>Builds the automaton.</summary>
    /// <exception cref="ConstraintException">It would be too large.</exception>
    public ByteAutomaton(RegexNode expression)
    {
        _end = Add();
        var start = Compile(expression, _end);
        _seen = new int[_nodes.Count];
        Allow();
        Start = Closure([start]);
    }

    /// <summary>Before the first byte.</summary>
    public AutomatonState Start { get; }

    private sealed record Node(List<(byte Low, byte High, int Target)> Edges, List<int> Free);

    /// <summary>Allows the work of one call; more throws.</summary>
    public void Allow() => _steps = StepsOfOneCall;

    /// <summary>The state after a byte; null when no text goes on so.</summary>
    /// <exception cref="ConstraintException">The work allowed is used up.</exception>
    public AutomatonState? Next(AutomatonState state, byte value)
    {
        if (state.Known[value])
            return state.Next[value];
        var targets = new List<int>();
        foreach (var node in state.Nodes)
        {
            _steps -= _nodes[node].Edges.Count;
            foreach (var (low, high, target) in _nodes[node].Edges)
            {
                if (value >= low && value <= high)
                    targets.Add(target);
            }
        }

        var next = targets.Count == 0 ? null : Closure(targets);
        state.Known[value] = true;
        state.Next[value] = next;
        return next;
    }

    private AutomatonState Closure(List<int> nodes)
    {
        _stamp++;
        var open = new Stack<int>(nodes);
        var found = new List<int>();
        var accepts = false;
        while (open.TryPop(out var node))
        {
            if (_seen[node] == _stamp)
                continue;
            _seen[node] = _stamp;
            if (--_steps < 0)
                throw new ConstraintException("The constraint needs too much work for one token; make it simpler.");
            accepts |= node == _end;
            if (_nodes[node].Edges.Count > 0)
                found.Add(node);
            foreach (var free in _nodes[node].Free)
                open.Push(free);
        }

        found.Sort();
        var key = new string(MemoryMarshal.Cast<int, char>(CollectionsMarshal.AsSpan(found))) + (accepts ? '+' : '-');
        if (_states.TryGetValue(key, out var known))
            return known;
        // Sequences in progress keep the states they are in, but what those lead to is made anew when it is needed.
        if (_states.Count >= MostStates)
        {
            foreach (var state in _states.Values)
                state.Forget();
            _states.Clear();
        }

        return _states[key] = new AutomatonState([.. found], accepts);
    }

    private int Add()
    {
        if (_nodes.Count >= MostNodes)
            throw new ConstraintException(
                $"The constraint is too large: it needs more than {MostNodes} states. Shorten lengths and repetitions, or nest less.");
        _nodes.Add(new Node([], []));
        return _nodes.Count - 1;
    }

    /// <summary>Adds nodes for an expression and returns the one before it; it leads to <paramref name="next"/>.</summary>
    private int Compile(RegexNode node, int next)
    {
        // Repetitions of nothing add no node, however often they are nested.
        if (++_parts > MostParts)
            throw new ConstraintException("The constraint is too large: it repeats too much. Shorten repetitions, or nest less.");
        switch (node)
        {
            case RegexNode.Sequence sequence:
                for (var i = sequence.Items.Count - 1; i >= 0; i--)
                    next = Compile(sequence.Items[i], next);
                return next;
            case RegexNode.Choice choice:
                var fork = Add();
                foreach (var item in choice.Items)
                    _nodes[fork].Free.Add(Compile(item, next));
                return fork;
            case RegexNode.Class set:
                var start = Add();
                foreach (var (low, high) in set.Ranges)
                    AddRange(start, low, high, next);
                return start;
            case RegexNode.Repeat repeat:
                return CompileRepeat(repeat, next);
            default:
                throw new InvalidOperationException("An expression has four forms.");
        }
    }

    private int CompileRepeat(RegexNode.Repeat repeat, int next)
    {
        var current = next;
        if (repeat.Most is { } most)
        {
            for (var i = repeat.Least; i < most; i++)
            {
                var optional = Add();
                _nodes[optional].Free.Add(Compile(repeat.Item, current));
                _nodes[optional].Free.Add(next);
                current = optional;
            }
        }
        else
        {
            current = Add();
            _nodes[current].Free.Add(next);
            _nodes[current].Free.Add(Compile(repeat.Item, current));
        }

        for (var i = 0; i < repeat.Least; i++)
            current = Compile(repeat.Item, current);
        return current;
    }

    /// <summary>Adds the UTF-8 encodings of a range of code points, split where their lengths or leading bytes change.</summary>
    private void AddRange(int start, int low, int high, int next)
    {
        foreach (var limit in (int[])[0x7F, 0x7FF, 0xFFFF])
        {
            if (low <= limit && high > limit)
            {
                AddRange(start, low, limit, next);
                AddRange(start, limit + 1, high, next);
                return;
            }
        }

        if (high <= 0x7F)
        {
            _nodes[start].Edges.Add(((byte)low, (byte)high, next));
            return;
        }

        for (var shift = 6; shift <= 18; shift += 6)
        {
            var mask = (1 << shift) - 1;
            if ((low & ~mask) == (high & ~mask))
                break;
            if ((low & mask) != 0)
            {
                AddRange(start, low, low | mask, next);
                AddRange(start, (low | mask) + 1, high, next);
                return;
            }

            if ((high & mask) != mask)
            {
                AddRange(start, low, (high & ~mask) - 1, next);
                AddRange(start, high & ~mask, high, next);
                return;
            }
        }

        Span<byte> first = stackalloc byte[4], last = stackalloc byte[4];
        var length = new System.Text.Rune(low).EncodeToUtf8(first);
        new System.Text.Rune(high).EncodeToUtf8(last);
        for (var i = length - 1; i > 0; i--)
        {
            var node = Add();
            _nodes[node].Edges.Add((first[i], last[i], next));
            next = node;
        }

        _nodes[start].Edges.Add((first[0], last[0], next));
    }
}

/// <summary>A deterministic state: what can still follow.</summary>
/// <param name="nodes">Its nondeterministic nodes that read a byte.</param>
/// <param name="accepts">Whether the text may end here.</param>
internal sealed class AutomatonState(int[] nodes, bool accepts)
{
    public int[] Nodes { get; } = nodes;

    public bool Accepts { get; } = accepts;

    /// <summary>Whether the text can only end here.</summary>
    public bool IsComplete => Accepts && Nodes.Length == 0;

    /// <summary>Tokens that may follow, a bit each, once they were asked for.</summary>
    public ulong[]? Tokens { get; set; }

    /// <summary>Drops what was found out about what follows.</summary>
    internal void Forget()
    {
        Tokens = null;
        Array.Clear(Known);
        Array.Clear(Next);
    }

    internal AutomatonState?[] Next { get; } = new AutomatonState?[256];

    internal bool[] Known { get; } = new bool[256];
}
