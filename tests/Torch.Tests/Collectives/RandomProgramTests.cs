using System.Security.Cryptography;
using CsCheck;
using Platform.Torch.Collectives;
using Xunit;

namespace Platform.Torch.Tests.Collectives;

/// <summary>Random programs of operations end with the same bits in every implementation. A failure prints CsCheck's seed.</summary>
public sealed class RandomProgramTests
{
    private static readonly Gen<Step> Steps = Gen.Select(
        Gen.Int[0, 5],
        Gen.OneOf(Gen.Long[0, 40], Gen.Long[0, 4000], Gen.Long[0, 60_000]),
        Gen.Enum<CollectiveElement>(),
        Gen.Enum<ReduceOperation>(),
        Gen.Int[0, 63],
        Gen.Bool,
        (kind, count, element, operation, peer, sub) => new Step(kind, count, element, operation, peer, sub));

    private static readonly Gen<(int Size, Step[] Program)> Programs = Gen.Select(Gen.Int[1, 6], Steps.Array[1, 30]);

    [Fact]
    public void Random_programs_give_the_same_bits_everywhere() => Programs.Sample(
        sample =>
        {
            var expected = Run(Fabric.Loopback, sample.Size, sample.Program);
            foreach (var fabric in (Fabric[])[Fabric.SharedMemory, Fabric.Tcp, Fabric.TwoNodes])
                Assert.Equal(expected, Run(fabric, sample.Size, sample.Program));
        },
        iter: 12,
        threads: 1);

    private static string[] Run(Fabric fabric, int size, Step[] program)
    {
        var digests = new string[size];
        RankThreads.Run(fabric.Create(size, Fabrics.SmallPieces), world =>
        {
            using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            using var all = world.CreateGroup("all", world.All());
            using var sub = world.CreateGroup($"part {world.Rank % 2}", [.. world.All().Where(rank => rank % 2 == world.Rank % 2).Reverse()]);
            for (var index = 0; index < program.Length; index++)
            {
                var step = program[index];
                foreach (var bytes in Execute(step, step.InPart ? sub : all, new Random(index * 1000 + world.Rank)))
                    hash.AppendData(bytes);
            }
            all.Barrier();
            digests[world.Rank] = Convert.ToHexString(hash.GetHashAndReset());
        });
        return digests;
    }

    private static IEnumerable<byte[]> Execute(Step step, ICollectiveGroup group, Random random)
    {
        var operation = step.Operation == ReduceOperation.Average && !step.Element.IsFloatingPoint() ? ReduceOperation.Sum : step.Operation;
        var whole = step.Count * group.Size;
        using var buffer = HostBuffer.Of(Reference.Random(random, whole, step.Element), step.Element);
        using var other = new HostBuffer(whole, step.Element);
        var part = buffer.Buffer.Slice(group.Rank * step.Count, step.Count);
        switch (step.Kind)
        {
            case 0: group.AllReduce(buffer.Buffer, operation); break;
            case 1: group.ReduceScatter(buffer.Buffer, other.Buffer.Slice(0, step.Count), operation); break;
            case 2: group.AllGather(part, other.Buffer); break;
            case 3: group.Broadcast(buffer.Buffer, step.Peer % group.Size); break;
            case 4 when group.Size > 1:
                var distance = 1 + step.Peer % (group.Size - 1);
                group.SendReceive(buffer.Buffer, (group.Rank + distance) % group.Size, other.Buffer, (group.Rank + group.Size - distance) % group.Size);
                break;
            default: group.Barrier(); break;
        }
        return [buffer.ToBytes(), other.ToBytes()];
    }

    private sealed record Step(int Kind, long Count, CollectiveElement Element, ReduceOperation Operation, int Peer, bool InPart);
}
