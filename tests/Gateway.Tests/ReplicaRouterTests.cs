using CsCheck;
using Platform.Gateway.Core;
using Xunit;

namespace Platform.Gateway.Tests;

/// <summary>Which replica a request goes to.</summary>
public sealed class ReplicaRouterTests
{
    [Fact]
    public void Equal_prefixes_meet_the_same_replica_while_the_load_is_even() =>
        Gen.Select(Gen.ULong, Gen.Int[1, 8]).Sample((hash, count) =>
        {
            var replicas = Enumerable.Range(0, count).Select(i => new ReplicaLoad($"http://r{i}", i)).ToList();
            var first = ReplicaRouter.Choose(replicas, hash);
            replicas.Reverse();
            return ReplicaRouter.Choose(replicas, hash).Endpoint == first.Endpoint;
        });

    [Fact]
    public void The_idlest_replica_is_chosen_when_the_load_is_uneven() =>
        Gen.ULong.Sample(hash => ReplicaRouter.Choose(
            [new("a", 100_000), new("b", 3), new("c", 50_000)], hash).Endpoint == "b");

    [Fact]
    public void A_replica_that_goes_moves_only_its_own_prefixes()
    {
        ReplicaLoad[] all = [.. Enumerable.Range(0, 5).Select(i => new ReplicaLoad($"http://10.0.0.{i}:80", 0))];
        for (ulong hash = 0; hash < 500; hash++)
        {
            ulong key = hash * 0x9E3779B97F4A7C15;
            string before = ReplicaRouter.Choose(all, key).Endpoint;
            string after = ReplicaRouter.Choose(all[..4], key).Endpoint;
            Assert.True(before == after || before == all[4].Endpoint);
        }
    }

    [Fact]
    public void Prefixes_spread_over_the_replicas()
    {
        ReplicaLoad[] all = [.. Enumerable.Range(0, 4).Select(i => new ReplicaLoad($"http://10.0.0.{i}:80", 0))];
        var counts = Enumerable.Range(0, 2000)
            .GroupBy(i => ReplicaRouter.Choose(all, ReplicaRouter.PrefixHash([i, i * 7, 3])).Endpoint)
            .Select(group => group.Count());
        Assert.All(counts, count => Assert.InRange(count, 300, 700));
    }
}
