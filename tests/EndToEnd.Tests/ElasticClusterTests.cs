using Platform.EndToEnd.Tests.Harness;
using Platform.Testing;
using Platform.V1;
using Xunit;

#pragma warning disable xUnit1069 // Every test gets the token through Cancellation.

namespace Platform.EndToEnd.Tests;

/// <summary>A cluster that begins empty and grows and shrinks with its jobs, agents being processes.</summary>
public sealed class ElasticClusterTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact(Timeout = 240_000)]
    public async Task Nodes_come_for_a_gang_train_it_leave_after_it_and_none_outlives_the_platform()
    {
        using var directory = new TemporaryDirectory();
        string data = directory.Sub("data");
        var server = await StandaloneServer.StartAsync(
            data, Cancellation, "--provider", "local", "--max-nodes", "2", "--devices-per-node", "2", "--", "--Scheduler:Capacity:IdleSeconds=1");
        List<int> agents;
        try
        {
            Assert.Contains("There are no nodes.", (await server.CliAsync(Cancellation, "nodes", "list")).Output, StringComparison.Ordinal);

            // Too much for the largest cluster that there could be: refused, and by how much.
            string text = directory.Write("text.txt", SmallJobs.Text(seed: 3));
            var refused = await server.CliAsync(
                Cancellation, "train", directory.Write("huge.yaml", SmallJobs.Yaml("huge", text, 1, 1, 8, steps: 4, checkpointEvery: 0).Replace("global_batch_size: 8", "global_batch_size: 16", StringComparison.Ordinal)));
            Assert.NotEqual(0, refused.ExitCode);
            Assert.Contains("4 of its 8 ranks find no place", refused.Output, StringComparison.Ordinal);

            // A cluster of its own, both nodes for this job alone.
            string file = directory.Write("job.yaml", SmallJobs.Yaml("own", text, 2, 1, 2, steps: 4, checkpointEvery: 0, extra: "resources: { cluster: ephemeral }"));
            var (code, output) = await server.CliAsync(Cancellation, "train", file, "--watch");
            Assert.True(code == 0, output);
            string name = output.TrimEnd().Split('\n')[^1].Trim();
            var job = await server.Jobs.GetJobAsync(new GetJobRequest { Name = name }, cancellationToken: Cancellation);
            Assert.Equal(["local-1", "local-2"], job.Ranks.Select(rank => rank.Node).Distinct().Order());

            // Points came through the scheduler, since these processes share no bus with it.
            Assert.Equal(4, job.Progress.Step);
            await Waiting.UntilAsync(() => Agents(data).Count == 0, "the nodes of the job are gone");

            // Shared nodes leave when nobody has needed them for a second; the name is not used again.
            var shell = await server.CliAsync(Cancellation, "train", directory.Write("shell.yaml", """
                kind: CommandJob
                name: shell
                command: [ /bin/sh, -c, "exec sleep 600" ]
                resources: { ranks: 1 }
                """));
            string waiting = shell.Output.TrimEnd().Split('\n')[^1].Trim();
            await server.WatchAsync(waiting, known => known.State == JobState.Running, Cancellation);
            var nodes = await server.CliAsync(Cancellation, "nodes", "list");
            Assert.Contains("local-3", nodes.Output, StringComparison.Ordinal);
            agents = Agents(data);
            Assert.Single(agents);
        }
        finally
        {
            await server.DisposeAsync();
        }

        await Waiting.UntilAsync(() => agents.All(agent => !Directory.Exists($"/proc/{agent}")), "no agent outlives the platform");
    }

    /// <summary>Processes of agents whose directory is below this one.</summary>
    private static List<int> Agents(string data) =>
        [.. Directory.GetDirectories("/proc").Select(path => int.TryParse(Path.GetFileName(path), out int id) ? id : 0).Where(id => id > 0 && IsAgent(id, data))];

    private static bool IsAgent(int id, string data)
    {
        try
        {
            string command = File.ReadAllText($"/proc/{id}/cmdline");
            return command.Contains($"--Agent:DataDirectory={data}", StringComparison.Ordinal) && !command.StartsWith("/bin/sh", StringComparison.Ordinal);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }
}
