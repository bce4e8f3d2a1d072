using System.Collections.Concurrent;
using Platform.Core.Gangs;
using Platform.Hosting.Bus;
using Platform.Testing;
using Xunit;

namespace Platform.Hosting.Tests.Bus;

/// <summary>What every transport must do.</summary>
internal static class BusContract
{
    public static GangAssignment Assignment(int attempt) => new()
    {
        Node = "n0",
        Gang = "jobs/j",
        Attempt = attempt,
        Epoch = 3,
        Phase = GangPhase.Start,
        Ranks = [new RankPlacement(0, [0, 1], 500), new RankPlacement(1, [2], 1000)],
        WorldSize = 8,
        HostsRendezvous = true,
        RendezvousAddress = "127.0.0.1:4711",
        Token = "secret",
        Kind = WorkloadKind.Serving,
        Workload = """{"name":"ä \"quoted\"","list":[1,2]}""",
        ResumeFrom = "jobs/j/1/00000100",
        StopGraceSeconds = 2.5,
        TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    };

    /// <summary>Every kind of message arrives as it was sent, in order, each at its own handler.</summary>
    public static async Task CarriesEveryMessageAsync(IMessageBus sender, IMessageBus receiver, CancellationToken token)
    {
        var received = new ConcurrentQueue<object>();
        string queue = $"test-{Guid.NewGuid():N}";
        await using IAsyncDisposable endpoint = await receiver.ReceiveAsync(
            queue,
            [
                Keep<PrepareGang>(received), Keep<StartGang>(received), Keep<StopGang>(received),
                Keep<GangMemberChanged>(received), Keep<GangProgressed>(received),
            ],
            token);
        var report = new GangMemberReport
        {
            Node = "n0",
            Incarnation = "i",
            Epoch = 3,
            Gang = "jobs/j",
            Attempt = 2,
            Phase = MemberPhase.Failed,
            Failure = new GangFailure { Code = FailureCode.RankHung, Message = "Rank 5 hangs.", Rank = 5, LogTail = ["a", "b"] },
            ProcessIds = new Dictionary<int, int> { [0] = 4711, [5] = 4712 },
        };
        var progress = new GangProgressReport
        {
            Node = "n0",
            Gang = "jobs/j",
            Attempt = 2,
            Phase = "training",
            PhaseFraction = 0.25,
            Points = [new StepMetrics(1, 8.5, 1.25, 1000, 1e-3, 0.125), new StepMetrics(2, double.MaxValue, 0, 0, 0, 0, 2.5)],
        };
        object[] sent =
        [
            new PrepareGang(Assignment(1)), new StartGang(Assignment(2)), new StopGang(Assignment(3)), new GangMemberChanged(report),
            new GangProgressed(progress),
        ];
        await sender.SendAsync(queue, (PrepareGang)sent[0], token);
        await sender.SendAsync(queue, (StartGang)sent[1], token);
        await sender.SendAsync(queue, (StopGang)sent[2], token);
        await sender.SendAsync(queue, (GangMemberChanged)sent[3], token);
        await sender.SendAsync(queue, (GangProgressed)sent[4], token);
        await Waiting.UntilAsync(() => received.Count >= sent.Length, "all messages");
        Assert.Equal(sent.Select(Describe), received.Select(Describe));
    }

    public static MessageHandler Keep<T>(ConcurrentQueue<object> received)
        where T : class => MessageHandler.For<T>((message, _) =>
    {
        received.Enqueue(message);
        return Task.CompletedTask;
    });

    private static string Describe(object message) =>
        $"{message.GetType().Name} {System.Text.Json.JsonSerializer.Serialize(message, message.GetType(), GangJson.Options)}";
}
