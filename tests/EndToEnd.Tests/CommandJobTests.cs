using Platform.EndToEnd.Tests.Harness;
using Platform.Testing;
using Platform.V1;
using Xunit;

#pragma warning disable xUnit1069 // Every test gets the token through Cancellation.

namespace Platform.EndToEnd.Tests;

/// <summary>Gangs that run programs of their own, with what torchrun would tell them.</summary>
public sealed class CommandJobTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact(Timeout = 240_000)]
    public async Task A_shell_gang_spans_two_nodes_fails_once_goes_on_from_its_directory_and_shows_its_logs()
    {
        using var directory = new TemporaryDirectory();
        await using var server = await StandaloneServer.StartAsync(directory.Sub("data"), Cancellation);
        // Rank 1 fails in the first attempt, after every rank has left a mark for the second.
        string file = directory.Write("job.yaml", """
            kind: CommandJob
            name: shell
            command:
              - /bin/sh
              - -c
              - |
                echo "rank $RANK/$WORLD_SIZE local $LOCAL_RANK/$LOCAL_WORLD_SIZE on $PLATFORM_NODE says $GREETING via $MASTER_PORT"
                touch "$PLATFORM_CHECKPOINT_DIR/$PLATFORM_ATTEMPT-$RANK"
                if [ "$TORCHELASTIC_RESTART_COUNT" = 0 ] && [ "$RANK" = 1 ]; then
                  while [ "$(ls "$PLATFORM_CHECKPOINT_DIR" | grep -c '^1-')" -lt "$WORLD_SIZE" ]; do sleep 0.05; done
                  exit 3
                fi
                if [ "$TORCHELASTIC_RESTART_COUNT" = 0 ]; then exec sleep 60; fi
                echo "the first attempt left $(ls "$PLATFORM_CHECKPOINT_DIR" | grep -c '^1-') marks"
            env: { GREETING: hello }
            resources: { ranks: 4, devices_per_rank: 2 }
            retries: { max_restarts: 2 }
            """);

        var (code, output) = await server.CliAsync(Cancellation, "train", file, "--watch");
        Assert.True(code == 0, output);
        string name = output.TrimEnd().Split('\n')[^1].Trim();
        var job = await server.Jobs.GetJobAsync(new GetJobRequest { Name = name }, cancellationToken: Cancellation);
        Assert.Equal((JobState.Succeeded, 2, 1), (job.State, job.Attempt, job.Restarts));
        Assert.Equal(("RANK_EXITED", 1), (job.PastFailures[0].Reason, job.PastFailures[0].Rank));
        Assert.Equal(2, job.Ranks.Select(rank => rank.Node).Distinct().Count());
        var (_, logs) = await server.CliAsync(Cancellation, "jobs", "logs", name);
        for (int rank = 0; rank < 4; rank++)
        {
            Assert.Contains($"rank {rank}/4 local {rank % 2}/2 on ", logs, StringComparison.Ordinal);
        }

        Assert.Contains("says hello via", logs, StringComparison.Ordinal);
        Assert.Contains("the first attempt left 4 marks", logs, StringComparison.Ordinal);
    }

    [Fact(Timeout = 240_000)]
    public async Task A_python_gang_meets_at_the_master_address_and_is_cancelled_while_it_runs()
    {
        Assert.SkipUnless(File.Exists("/usr/bin/python3"), "There is no /usr/bin/python3 on this machine.");
        using var directory = new TemporaryDirectory();
        await using var server = await StandaloneServer.StartAsync(directory.Sub("data"), Cancellation);
        string script = directory.Write("meet.py", """
            import os, socket, time
            rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
            address = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
            if rank == 0:
                listener = socket.create_server(("", address[1]))
                total = 0
                for _ in range(world - 1):
                    peer, _ = listener.accept()
                    total += int(peer.recv(16))
                print("sum of ranks", total, flush=True)
            else:
                while True:
                    try:
                        peer = socket.create_connection(address)
                        break
                    except OSError:
                        time.sleep(0.05)
                peer.send(str(rank).encode())
            time.sleep(300)
            """);
        string file = directory.Write("job.yaml", $$"""
            kind: CommandJob
            name: meet
            command: [ /usr/bin/python3, "{{script}}" ]
            resources: { ranks: 4, devices_per_rank: 2 }
            """);

        var (code, output) = await server.CliAsync(Cancellation, "train", file);
        Assert.True(code == 0, output);
        string name = output.TrimEnd().Split('\n')[^1].Trim();
        await server.WatchAsync(name, job => job.State == JobState.Running, Cancellation);
        using var logs = server.Jobs.StreamLogs(new StreamLogsRequest { Name = name, Rank = 0, Follow = true }, cancellationToken: Cancellation);
        Assert.True(await logs.ResponseStream.MoveNext(Cancellation));
        Assert.Equal("sum of ranks 6", logs.ResponseStream.Current.Line);

        var (cancelled, said) = await server.CliAsync(Cancellation, "jobs", "cancel", name);
        Assert.True(cancelled == 0, said);
        await server.WatchAsync(name, job => job.State == JobState.Cancelled, Cancellation);
    }
}
