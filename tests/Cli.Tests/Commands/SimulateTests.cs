using Platform.Cli.Tests.Scripted;
using Platform.Testing;
using Xunit;

namespace Platform.Cli.Tests.Commands;

public sealed class SimulateTests
{
    private const string Nodes = "sn,cpu_milli,memory_mib,gpu,model\na,8000,65536,2,T4\nb,8000,65536,2,T4\n";
    private const string Tasks = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\nt,1000,1024,1,1000,\n";

    [Fact]
    public async Task Prints_policy_mean_and_seeds_as_one_object()
    {
        using var directory = new TemporaryDirectory();
        string nodes = Path.Combine(directory.Path, "nodes.csv"), tasks = Path.Combine(directory.Path, "tasks.csv");
        await File.WriteAllTextAsync(nodes, Nodes, TestContext.Current.CancellationToken);
        await File.WriteAllTextAsync(tasks, Tasks, TestContext.Current.CancellationToken);
        using var cli = new CommandLine();

        var run = await cli.RunAsync("simulate", "--nodes", nodes, "--tasks", tasks, "--demand", "0.75", "--policy", "fgd", "--seeds", "42-43", "-o", "json");

        Assert.Equal((0, """{"policy":"fgd","gpuAllocatedPercent":{"mean":75,"perSeed":[75,75]}}""" + "\n"), (run.Code, run.Output));
    }

    [Fact]
    public async Task Replays_a_trace_and_writes_its_timeline()
    {
        using var directory = new TemporaryDirectory();
        string trace = Path.Combine(directory.Path, "jobs.jsonl"), picture = Path.Combine(directory.Path, "week.html");
        await File.WriteAllTextAsync(
            trace, "# two gangs\n{\"gang\":\"a\",\"duration_s\":60,\"data\":3}\n{\"gang\":\"b\",\"submit_s\":10,\"duration_s\":30,\"data\":4}\n", TestContext.Current.CancellationToken);
        using var cli = new CommandLine();

        var run = await cli.RunAsync("simulate", trace, "--nodes", "1x4", "--timeline", picture, "-o", "json");

        Assert.True(run.Code == 0, run.Error);
        Assert.Contains("\"utilizationPercent\":83.3333", run.Output, StringComparison.Ordinal);
        Assert.Contains("\"waitSeconds\":{\"mean\":25,\"p50\":0,\"p95\":50,\"max\":50}", run.Output, StringComparison.Ordinal);
        Assert.Contains("<svg", await File.ReadAllTextAsync(picture, TestContext.Current.CancellationToken), StringComparison.Ordinal);
        var wrong = await cli.RunAsync("simulate", trace, "--nodes", "1x4", "--timeline", "week.png");
        Assert.Contains("expected a name that ends in .svg or .html", wrong.Error, StringComparison.Ordinal);
        Assert.Contains("Give a TRACE to replay, or --tasks to pack.", (await cli.RunAsync("simulate", "--nodes", "1x4")).Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("42", new[] { 42 })]
    [InlineData("42-44", new[] { 42, 43, 44 })]
    [InlineData("1,5-6", new[] { 1, 5, 6 })]
    public void Reads_seeds(string text, int[] seeds) => Assert.Equal(seeds, Platform.Cli.Commands.SimulateCommand.Seeds(text));

    [Fact]
    public async Task Names_the_file_that_is_not_there_and_the_seeds_that_are_none()
    {
        using var cli = new CommandLine();

        var missing = await cli.RunAsync("simulate", "--nodes", "/nowhere/nodes.csv", "--tasks", "/nowhere/tasks.csv");
        Assert.Equal(1, missing.Code);
        Assert.Contains("/nowhere/nodes.csv", missing.Error, StringComparison.Ordinal);

        Assert.Throws<CommandException>(() => Platform.Cli.Commands.SimulateCommand.Seeds("5-2"));
    }
}
