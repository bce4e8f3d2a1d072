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
