using CsCheck;
using Platform.Serving.Core.Sampling;

namespace Platform.Serving.Tests.Core;

public sealed class SamplerTests
{
    private static readonly Gen<SamplingSettings> AnySettings = Gen.Select(
        Gen.Double[0.2, 3], Gen.Int[0, 60].Select(k => k == 0 ? (int?)null : k), Gen.OneOf(Gen.Const(1.0), Gen.Double[0.05, 1]), Gen.OneOf(Gen.Const(0.0), Gen.Double[0, 0.5]),
        Gen.Select(Gen.OneOf(Gen.Const(1.0), Gen.Double[0.5, 2]), Gen.Double[-2, 2], Gen.Double[-2, 2]), Gen.Long,
        (temperature, topK, topP, minP, penalties, seed) => new SamplingSettings
        {
            Temperature = temperature,
            TopK = topK,
            TopP = topP,
            MinP = minP,
            Seed = seed,
            RepetitionPenalty = penalties.Item1,
            PresencePenalty = penalties.Item2,
            FrequencyPenalty = penalties.Item3,
            LogitBias = new Dictionary<int, float> { [(int)((ulong)seed % 50)] = 1.5f },
        });

    [Fact]
    public void Philox_gives_the_published_known_answers()
    {
        // Random123 1.14, tests/kat_vectors, philox4x32 10.
        Assert.Equal((0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u), Philox.Words((0, 0), (0, 0, 0, 0)));
        Assert.Equal(
            (0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu),
            Philox.Words((uint.MaxValue, uint.MaxValue), (uint.MaxValue, uint.MaxValue, uint.MaxValue, uint.MaxValue)));
    }

    [Fact]
    public void Chooses_what_a_plain_double_precision_sampler_chooses() =>
        Gen.Select(AnySettings, Gen.Float[-6, 6].Array[50, 50], Gen.Int[0, 49].Array[0, 12], Gen.Int[0, 49].Array[0, 12], Gen.Int[0, 3])
            .Sample((settings, logits, prompt, produced, choice) =>
            {
                var expected = ReferenceSampler.Choose(logits, prompt, produced, choice, settings, out var margin);
                // Where the draw falls on the edge between two tokens, rounding may decide.
                if (margin < 1e-5)
                    return;
                Assert.Equal(expected, new Sampler(50).Choose(logits, prompt, produced, choice, settings).TokenId);
            }, iter: 20_000, threads: 1);

    [Fact]
    public void A_sampler_remembers_nothing_of_earlier_rows() =>
        Gen.Select(AnySettings, Gen.Float[-6, 6].Array[50, 50], Gen.Int[0, 49].Array[0, 12], Gen.Int[0, 49].Array[0, 12])
            .Array[3, 3].Sample(rows =>
            {
                var used = new Sampler(50);
                foreach (var (settings, logits, prompt, produced) in rows)
                    Assert.Equal(
                        new Sampler(50).Choose(logits, prompt, produced, 0, settings).TokenId,
                        used.Choose(logits, prompt, produced, 0, settings).TokenId);
            }, iter: 2_000, threads: 1);

    [Fact]
    public void Temperature_zero_takes_the_first_of_the_most_likely_tokens()
    {
        var settings = new SamplingSettings { Temperature = 0 };
        Assert.Equal(1, new Sampler(4).Choose([0, 5, 5, 1], [], [], 0, settings).TokenId);
        Assert.Equal(3, new Sampler(4).Choose([0, 5, 5, 1], [], [], 0, settings with { LogitBias = new Dictionary<int, float> { [3] = 10 } }).TokenId);
    }

    [Fact]
    public void Frequencies_follow_the_probabilities()
    {
        // Probabilities 0.5, 0.25, 0.125, 0.125 over 20,000 positions of one seed; 5 standard deviations.
        float[] logits = [0, -MathF.Log(2), -MathF.Log(4), -MathF.Log(4)];
        var sampler = new Sampler(4);
        var counts = new int[4];
        var produced = new int[20_000];
        for (var i = 0; i < produced.Length; i++)
            counts[sampler.Choose(logits, [], produced.AsSpan(0, i), 0, new SamplingSettings { Seed = 7 }).TokenId]++;
        double[] expected = [0.5, 0.25, 0.125, 0.125];
        for (var token = 0; token < 4; token++)
        {
            var deviation = Math.Sqrt(produced.Length * expected[token] * (1 - expected[token]));
            Assert.InRange(counts[token], (produced.Length * expected[token]) - (5 * deviation), (produced.Length * expected[token]) + (5 * deviation));
        }
    }

    [Fact]
    public void Draws_differ_by_seed_choice_and_position_and_by_nothing_else()
    {
        double[] draws = [Philox.Uniform(1, 0, 0), Philox.Uniform(2, 0, 0), Philox.Uniform(1, 1, 0), Philox.Uniform(1, 0, 1), Philox.Uniform(1L << 40, 0, 0)];
        Assert.Equal(draws.Length, draws.Distinct().Count());
        Assert.Equal(draws[0], Philox.Uniform(1, 0, 0));
        Assert.All(draws, draw => Assert.InRange(draw, 0, 0.9999999999999999));
    }

    [Fact]
    public void Log_probabilities_are_those_of_the_model_best_first()
    {
        float[] logits = [1, 3, 2, 3];
        var settings = new SamplingSettings { Temperature = 0, TopLogprobs = 3, LogitBias = new Dictionary<int, float> { [0] = 50 } };
        var sample = new Sampler(4).Choose(logits, [], [], 0, settings);
        var logprobs = Assert.IsType<TokenLogprobs>(sample.Logprobs);
        var normaliser = Math.Log(logits.Sum(logit => Math.Exp(logit)));
        Assert.Equal(0, sample.TokenId);
        Assert.Equal(1 - normaliser, logprobs.Logprob, 1e-6);
        Assert.Equal([1, 3, 2], logprobs.TopIds);
        Assert.Equal([3 - normaliser, 3 - normaliser, 2 - normaliser], logprobs.TopLogprobs.Select(value => (double)value), (a, b) => Math.Abs(a - b) < 1e-6);
    }
}

/// <summary>The sampler's definition, in double precision, with full sorts and no shortcuts.</summary>
internal static class ReferenceSampler
{
    public static int Choose(float[] logits, int[] prompt, int[] produced, int choice, SamplingSettings settings, out double margin)
    {
        var adjusted = logits.Select((logit, token) =>
        {
            double value = logit + (settings.LogitBias.TryGetValue(token, out var bias) ? bias : 0);
            if (prompt.Contains(token) || produced.Contains(token))
                value = value > 0 ? value / settings.RepetitionPenalty : value * settings.RepetitionPenalty;
            var count = produced.Count(other => other == token);
            return count == 0 ? value : value - settings.PresencePenalty - (settings.FrequencyPenalty * count);
        }).ToArray();
        var max = adjusted.Max();
        var weights = adjusted.Select((value, token) => (Token: token, Weight: Math.Exp((value - max) / settings.Temperature)))
            .OrderByDescending(pair => pair.Weight).ThenBy(pair => pair.Token).ToList();
        margin = 1;
        foreach (var (_, weight) in weights)
            margin = settings.MinP > 0 ? Math.Min(margin, Math.Abs(weight - settings.MinP)) : margin;
        weights = [.. weights.Where(pair => pair.Weight >= settings.MinP)];
        if (settings.TopK is { } k && k < weights.Count)
        {
            margin = Math.Min(margin, weights[k - 1].Weight - weights[k].Weight);
            weights = weights[..k];
        }

        if (settings.TopP < 1)
        {
            var total = weights.Sum(pair => pair.Weight);
            var (sum, kept) = (0.0, 0);
            while (kept < weights.Count && sum < settings.TopP * total)
            {
                sum += weights[kept++].Weight;
                margin = Math.Min(margin, Math.Abs(sum - (settings.TopP * total)) / total);
            }

            if (kept < weights.Count)
                margin = Math.Min(margin, weights[kept - 1].Weight - weights[kept].Weight);
            weights = weights[..kept];
        }

        var rest = Philox.Uniform(settings.Seed, choice, produced.Length) * weights.Sum(pair => pair.Weight);
        var scale = weights.Sum(pair => pair.Weight);
        foreach (var (token, weight) in weights.OrderBy(pair => pair.Token))
        {
            margin = Math.Min(margin, Math.Abs(rest - weight) / scale);
            rest -= weight;
            if (rest < 0)
                return token;
        }

        return weights.Max(pair => pair.Token);
    }
}
