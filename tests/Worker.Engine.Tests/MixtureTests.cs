using Platform.Core.Jobs;
using Platform.Worker.Engine.Data;
using Xunit;

namespace Platform.Worker.Engine.Tests;

/// <summary>The order of the data over random mixtures, lengths and widths.</summary>
public sealed class MixtureTests
{
    [Fact]
    public void Every_position_draws_the_next_of_one_shard_and_shares_follow_the_weights()
    {
        var random = Seeded();
        for (var round = 0; round < 40; round++)
        {
            var weights = Enumerable.Range(0, random.Next(1, 7)).Select(_ => Math.Exp(random.NextDouble() * 6)).ToArray();
            var schedule = new MixtureSchedule(weights);
            var drawn = new long[weights.Length];
            for (long position = 0; position < 3000; position++)
            {
                var (shard, index) = schedule.At(position);
                Assert.Equal(drawn[shard]++, index);
                for (var i = 0; i < weights.Length; i++)
                    Assert.InRange(drawn[i] - ((position + 1) * weights[i] / weights.Sum()), -weights.Length, weights.Length);
            }
        }
    }

    [Fact]
    public void Counts_stay_exact_however_long_a_run_is()
    {
        var schedule = new MixtureSchedule([0.3, 0.2, 0.5]);
        const long far = 1L << 41;
        var next = new long?[3];
        for (var position = far; position < far + 500; position++)
        {
            var (shard, index) = schedule.At(position);
            Assert.Equal(next[shard] ?? index, index);
            next[shard] = index + 1;
        }

        Assert.Equal(0.3 * far, next[0] ?? 0, 1e-8 * far);
    }

    [Fact]
    public void No_sequence_is_lost_or_repeated_in_an_epoch_of_its_source_at_any_width()
    {
        var random = Seeded();
        using var directory = new TemporaryDirectory();
        for (var round = 0; round < 25; round++)
        {
            var sources = random.Next(1, 5);
            var length = random.Next(1, 9);
            var shards = Enumerable.Range(0, sources).Select(i => Shard(directory, $"{round}-{i}", random.Next(40, 400) * length)).ToList();
            var spec = Job(random, sources, length);
            var data = new TrainingData(spec, shards);
            var held = Enumerable.Range(0, sources).Select(shard => Enumerable.Range(0, shards[shard].Sequences(length))
                .Where(i => Math.Floor((i + 1) * spec.Data.EvalFraction) > Math.Floor(i * spec.Data.EvalFraction)).ToHashSet()).ToArray();
            Assert.All(data.HeldOut, id => Assert.Contains(id.Index, held[id.Shard]));
            Assert.Equal(data.HeldOut.Count, data.HeldOut.Distinct().Count());

            const int steps = 60;
            var seen = Enumerable.Range(1, steps).SelectMany(data.GlobalBatch).ToList();
            foreach (var group in seen.GroupBy(id => id.Shard))
            {
                var all = Enumerable.Range(0, shards[group.Key].Sequences(length)).Where(i => !held[group.Key].Contains(i)).ToList();
                var epochs = group.Select(id => id.Index).Chunk(all.Count).ToList();
                Assert.All(epochs.SkipLast(1), epoch => Assert.Equal(all, epoch.Order()));
                Assert.All(epochs[^1], index => Assert.Contains(index, all));
                Assert.Equal(epochs[^1].Length, epochs[^1].Distinct().Count());
            }

            // Whoever begins anywhere, at any width, gets the parts of the same batches.
            var again = new TrainingData(spec, shards);
            foreach (var step in new[] { 41, 7, 60, 1 })
            {
                var batch = again.GlobalBatch(step);
                Assert.Equal(seen.Skip((step - 1) * batch.Length).Take(batch.Length), batch);
            }

            shards.ForEach(shard => shard.Dispose());
        }
    }

    [Fact]
    public void Sources_of_equal_length_are_shuffled_differently_and_one_source_as_without_a_mixture()
    {
        using var directory = new TemporaryDirectory();
        using var first = Shard(directory, "a", 400);
        using var second = Shard(directory, "b", 400);
        var job = Gang.Job("x", 1, 1, 1, Precision.Float32, 10);
        job = job with { Data = job.Data with { SequenceLength = 4, EvalFraction = 0, Mixture = [new("a", 1), new("b", 1)] } };
        var mixed = new TrainingData(job, [first, second]);
        var order = Enumerable.Range(1, 20).SelectMany(mixed.GlobalBatch).ToLookup(id => id.Shard, id => id.Index);
        Assert.NotEqual(order[0], order[1]);

        var alone = new TrainingData(job with { Data = job.Data with { Mixture = [] } }, [first]);
        var plain = new DataOrder(job.Training.Seed, first.Sequences(4), 0, job.Training.GlobalBatchSize);
        Assert.Equal(Enumerable.Range(1, 60).SelectMany(plain.GlobalBatch), Enumerable.Range(1, 60).SelectMany(alone.GlobalBatch).Select(id => id.Index));
    }

    private static Random Seeded()
    {
        var seed = int.TryParse(Environment.GetEnvironmentVariable("PLATFORM_TEST_SEED"), out var given) ? given : Random.Shared.Next();
        TestContext.Current.TestOutputHelper?.WriteLine($"seed = {seed}");
        return new Random(seed);
    }

    private static TokenFile Shard(TemporaryDirectory directory, string name, int tokens)
    {
        var path = Path.Combine(directory.Path, name);
        File.WriteAllBytes(path, new byte[2 * tokens]);
        return TokenFile.Open(path, tokens, 2);
    }

    private static TrainingJobSpec Job(Random random, int sources, int length)
    {
        var job = Gang.Job("x", 1, 1, 1, Precision.Float32, 60);
        return job with
        {
            Data = job.Data with
            {
                SequenceLength = length,
                EvalFraction = random.Next(2) * random.NextDouble() / 3,
                Mixture = sources == 1 && random.Next(2) == 0 ? [] : [.. Enumerable.Range(0, sources).Select(i => new MixtureWeight($"{i}", 0.1 + random.NextDouble()))],
            },
            Training = job.Training with { Seed = random.Next(), GlobalBatchSize = random.Next(1, 33) },
        };
    }
}
