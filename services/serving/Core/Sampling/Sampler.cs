namespace Platform.Serving.Core.Sampling;

/// <summary>
/// Chooses a token from a row of logits: bias, then penalties, then temperature, min-p, top-k and top-p, then one draw keyed
/// by (seed, choice, position). The result is a function of these arguments alone. Holds scratch memory; not thread-safe.
/// </summary>
public sealed class Sampler
{
    private readonly float[] _logits;
    private readonly float[] _weights;
    private readonly int[] _counts;
    private readonly float[] _candidateWeights;
    private readonly int[] _candidateIds;

    /// <summary>A sampler for rows of this many logits.</summary>
    public Sampler(int vocabularySize)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(vocabularySize, 1);
        _logits = new float[vocabularySize];
        _weights = new float[vocabularySize];
        _counts = new int[vocabularySize];
        _candidateWeights = new float[vocabularySize];
        _candidateIds = new int[vocabularySize];
    }

    /// <summary>Chooses the next token.</summary>
    /// <param name="logits">The model's logits, one per token of the vocabulary.</param>
    /// <param name="prompt">Tokens of the prompt.</param>
    /// <param name="produced">Tokens of the output so far; their number is the position of the draw.</param>
    /// <param name="choice">Choice of the request, from 0.</param>
    /// <param name="settings">How to choose.</param>
    /// <param name="allowed">A bit for each token that may be chosen, at least one of them set; empty for all.</param>
    /// <exception cref="ArgumentException">The row has another length than the vocabulary.</exception>
    public Sample Choose(
        ReadOnlySpan<float> logits, ReadOnlySpan<int> prompt, ReadOnlySpan<int> produced, int choice, SamplingSettings settings,
        ReadOnlySpan<ulong> allowed = default)
    {
        ArgumentNullException.ThrowIfNull(settings);
        if (logits.Length != _logits.Length)
            throw new ArgumentException($"Expected {_logits.Length} logits, found {logits.Length}.", nameof(logits));
        var adjusted = settings.ChangesLogits ? Adjust(logits, prompt, produced, settings) : logits;
        if (!allowed.IsEmpty)
            adjusted = Restrict(adjusted, allowed);
        var token = settings.Temperature == 0
            ? VectorMath.ArgMax(adjusted)
            : Draw(adjusted, settings, Philox.Uniform(settings.Seed, choice, produced.Length));
        return new Sample(token, settings.TopLogprobs is { } count ? Logprobs(logits, token, count) : null);
    }

    private ReadOnlySpan<float> Restrict(ReadOnlySpan<float> logits, ReadOnlySpan<ulong> allowed)
    {
        if (!logits.Overlaps(_logits))
            logits.CopyTo(_logits);
        for (var token = 0; token < _logits.Length; token++)
        {
            if ((allowed[token >> 6] >> (token & 63) & 1) == 0)
                _logits[token] = float.NegativeInfinity;
        }

        return _logits;
    }

    private ReadOnlySpan<float> Adjust(
        ReadOnlySpan<float> logits, ReadOnlySpan<int> prompt, ReadOnlySpan<int> produced, SamplingSettings settings)
    {
        logits.CopyTo(_logits);
        foreach (var (token, bias) in settings.LogitBias)
            _logits[token] += bias;
        foreach (var token in produced)
            _counts[token]++;
        if (settings.RepetitionPenalty != 1)
        {
            // A count of int.MinValue marks a token whose repetition has been paid for.
            foreach (var token in prompt)
                Repeat(token, settings.RepetitionPenalty);
            foreach (var token in produced)
                Repeat(token, settings.RepetitionPenalty);
            foreach (var token in prompt)
                _counts[token] &= int.MaxValue;
        }

        foreach (var token in produced)
        {
            var count = _counts[token] & int.MaxValue;
            if (count == 0)
                continue;
            _logits[token] -= (float)(settings.PresencePenalty + (settings.FrequencyPenalty * count));
            _counts[token] = 0;
        }

        return _logits;
    }

    private void Repeat(int token, double penalty)
    {
        if (_counts[token] < 0)
            return;
        _counts[token] |= int.MinValue;
        var logit = _logits[token];
        _logits[token] = (float)(logit > 0 ? logit / penalty : logit * penalty);
    }

    private int Draw(ReadOnlySpan<float> logits, SamplingSettings settings, double uniform)
    {
        var max = VectorMath.Max(logits);
        if (!float.IsFinite(max))
            return VectorMath.ArgMax(logits);
        var total = VectorMath.ExpShifted(logits, max, (float)(1 / settings.Temperature), _weights);
        if (settings.MinP == 0 && settings.TopP >= 1 && !CutsToTopK(settings))
            return Pick(_weights, uniform * total);
        var count = Filter(settings, total);
        return PickCandidate(count, uniform);
    }

    /// <summary>Leaves the kept tokens in the candidate arrays, in the order of their ids.</summary>
    private int Filter(SamplingSettings settings, double total)
    {
        // The most likely token has weight 1. Tokens lighter than (1 − top-p) · total / V weigh less than (1 − top-p) · total
        // together, so the nucleus of the whole vocabulary lies among the others.
        var floor = (float)settings.MinP;
        var wholeMass = settings.MinP == 0 && !CutsToTopK(settings);
        if (wholeMass)
            floor = (float)((1 - settings.TopP) * total / _weights.Length * 0.999);
        else if (CutsToTopK(settings))
            floor = Math.Max(floor, KthLargest(_weights, _candidateWeights.AsSpan(0, settings.TopK ?? 0)));
        var count = 0;
        for (var token = 0; token < _weights.Length; token++)
        {
            if (!(_weights[token] >= floor && _weights[token] > 0))
                continue;
            _candidateWeights[count] = -_weights[token];
            _candidateIds[count++] = token;
        }

        var weights = _candidateWeights.AsSpan(0, count);
        var ids = _candidateIds.AsSpan(0, count);
        weights.Sort(ids);
        OrderTies(weights, ids);
        var kept = Math.Min(count, settings.TopK ?? count);
        if (settings.TopP < 1)
            kept = Nucleus(weights[..kept], settings.TopP, wholeMass ? total : -Sum(weights[..kept]));
        ids[..kept].Sort(weights[..kept]);
        return kept;
    }

    /// <summary>The k-th largest weight, found with a heap of the k largest seen so far, smallest at the root.</summary>
    private static float KthLargest(ReadOnlySpan<float> weights, Span<float> heap)
    {
        heap.Fill(float.NegativeInfinity);
        foreach (var weight in weights)
        {
            if (!(weight > heap[0]))
                continue;
            var hole = 0;
            while ((2 * hole) + 1 < heap.Length)
            {
                var child = (2 * hole) + 1;
                if (child + 1 < heap.Length && heap[child + 1] < heap[child])
                    child++;
                if (heap[child] >= weight)
                    break;
                heap[hole] = heap[child];
                hole = child;
            }

            heap[hole] = weight;
        }

        return heap[0];
    }

    private static int Nucleus(ReadOnlySpan<float> negativeWeights, double topP, double mass)
    {
        var target = topP * mass;
        var sum = 0.0;
        for (var i = 0; i < negativeWeights.Length; i++)
        {
            sum -= negativeWeights[i];
            if (sum >= target)
                return i + 1;
        }

        return negativeWeights.Length;
    }

    private static double Sum(ReadOnlySpan<float> values)
    {
        var sum = 0.0;
        foreach (var value in values)
            sum += value;
        return sum;
    }

    private bool CutsToTopK(SamplingSettings settings) => settings.TopK is { } k && k < _weights.Length;

    /// <summary>Sorting is not stable; among equal weights the lower id comes first.</summary>
    private static void OrderTies(ReadOnlySpan<float> weights, Span<int> ids)
    {
        for (var start = 0; start < weights.Length;)
        {
            var end = start + 1;
            while (end < weights.Length && weights[end] == weights[start])
                end++;
            if (end - start > 1)
                ids[start..end].Sort();
            start = end;
        }
    }

    private int PickCandidate(int count, double uniform)
    {
        var rest = -uniform * Sum(_candidateWeights.AsSpan(0, count));
        for (var i = 0; i < count - 1; i++)
        {
            rest += _candidateWeights[i];
            if (rest < 0)
                return _candidateIds[i];
        }

        return _candidateIds[count - 1];
    }

    private static int Pick(ReadOnlySpan<float> weights, double rest)
    {
        var last = 0;
        for (var token = 0; token < weights.Length; token++)
        {
            if (!(weights[token] > 0))
                continue;
            last = token;
            rest -= weights[token];
            if (rest < 0)
                return token;
        }

        return last;
    }

    private TokenLogprobs Logprobs(ReadOnlySpan<float> logits, int token, int count)
    {
        var max = VectorMath.Max(logits);
        var normaliser = max + Math.Log(VectorMath.ExpShifted(logits, max, 1, _weights));
        var kept = new PriorityQueue<int, (float Logit, int Tie)>(count + 1);
        for (var id = 0; id < logits.Length && count > 0; id++)
        {
            if (kept.Count < count)
                kept.Enqueue(id, (logits[id], -id));
            else if (logits[id] > logits[kept.Peek()])
                kept.EnqueueDequeue(id, (logits[id], -id));
        }

        var ids = new int[kept.Count];
        for (var i = ids.Length - 1; i >= 0; i--)
            ids[i] = kept.Dequeue();
        var logprobs = new float[ids.Length];
        for (var i = 0; i < ids.Length; i++)
            logprobs[i] = (float)(logits[ids[i]] - normaliser);
        return new TokenLogprobs((float)(logits[token] - normaliser), ids, logprobs);
    }
}
