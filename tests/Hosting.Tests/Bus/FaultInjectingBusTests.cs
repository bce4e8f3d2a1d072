using System.Collections.Concurrent;
using Microsoft.Extensions.Time.Testing;
using Platform.Core.Gangs;
using Platform.Hosting.Bus;
using Platform.Testing;
using Xunit;

namespace Platform.Hosting.Tests.Bus;

public sealed class FaultInjectingBusTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Loses_and_repeats_about_as_often_as_told_and_the_same_for_a_seed()
    {
        int[] first = await SendAsync(new BusFaultOptions { Lose = 0.2, Duplicate = 0.1, Seed = 5 });
        int[] second = await SendAsync(new BusFaultOptions { Lose = 0.2, Duplicate = 0.1, Seed = 5 });
        Assert.Equal(first, second);
        Assert.InRange(first.Distinct().Count(), 750, 850);
        Assert.InRange(first.Length - first.Distinct().Count(), 50, 110);
    }

    [Fact]
    public async Task Delayed_messages_overtake_one_another_but_all_arrive()
    {
        var time = new FakeTimeProvider();
        var inner = new RecordingBus();
        await using var bus = new FaultInjectingBus(inner, new BusFaultOptions { DelayMilliseconds = 1000, Seed = 3 }, time);
        for (int i = 0; i < 100; i++)
        {
            await bus.SendAsync("q", new PrepareGang(BusContract.Assignment(i)), Token);
        }

        for (int i = 0; i < 1000; i++)
        {
            time.Advance(TimeSpan.FromMilliseconds(1));
        }

        await Waiting.UntilAsync(() => inner.Attempts.Count == 100, "all messages");
        Assert.Equal(Enumerable.Range(0, 100), inner.Attempts.Order());
        Assert.NotEqual(Enumerable.Range(0, 100), inner.Attempts);
        Assert.Equal((0, 100), (bus.Lost, bus.Delayed));
    }

    private static async Task<int[]> SendAsync(BusFaultOptions faults)
    {
        var inner = new RecordingBus();
        await using var bus = new FaultInjectingBus(inner, faults, TimeProvider.System);
        for (int i = 0; i < 1000; i++)
        {
            await bus.SendAsync("q", new PrepareGang(BusContract.Assignment(i)), Token);
        }

        Assert.Equal(1000, bus.Lost + inner.Attempts.Distinct().Count());
        return [.. inner.Attempts];
    }

    private sealed class RecordingBus : IMessageBus
    {
        public ConcurrentQueue<int> Attempts { get; } = new();

        public Task SendAsync<T>(string queue, T message, CancellationToken cancellationToken)
            where T : class
        {
            if (message is PrepareGang prepare)
            {
                Attempts.Enqueue(prepare.Assignment.Attempt);
            }

            return Task.CompletedTask;
        }

        public Task<IAsyncDisposable> ReceiveAsync(string queue, IReadOnlyList<MessageHandler> handlers, CancellationToken cancellationToken) =>
            throw new NotSupportedException();
    }
}
