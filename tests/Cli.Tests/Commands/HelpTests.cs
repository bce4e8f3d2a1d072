using Platform.Cli.Tests.Scripted;
using Xunit;

namespace Platform.Cli.Tests.Commands;

public sealed class HelpTests
{
    [Fact]
    public async Task Names_every_command()
    {
        using var cli = new CommandLine();

        var run = await cli.RunAsync("--help");

        Assert.Equal(0, run.Code);
        foreach (var command in new[] { "up", "train", "plan", "jobs", "models", "deploy", "deployments", "generate", "chat", "nodes", "queues", "top", "doctor", "bench" })
            Assert.Contains($"\n  {command} ", run.Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("train", "platform train job.yaml --watch")]
    [InlineData("generate", "platform generate docs-lm")]
    public async Task Ends_with_examples(string command, string example)
    {
        using var cli = new CommandLine();

        var run = await cli.RunAsync(command, "--help");

        Assert.Equal(0, run.Code);
        Assert.Contains("Examples:\n  " + example, run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Guesses_a_mistyped_command()
    {
        using var cli = new CommandLine();

        var run = await cli.RunAsync("trian", "job.yaml");

        Assert.Equal(1, run.Code);
        Assert.Contains("train", run.Output + run.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("Usage:", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Refuses_an_unknown_option()
    {
        using var cli = new CommandLine();

        Assert.Equal(1, (await cli.RunAsync("jobs", "list", "--bogus")).Code);
    }
}
