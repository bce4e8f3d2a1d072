using Platform.Cli.Tests.Scripted;
using Xunit;

namespace Platform.Cli.Tests.Commands;

public sealed class BenchTests
{
    [Fact]
    public async Task Becomes_the_benchmark_program_with_the_named_benchmark()
    {
        using var cli = new CommandLine();
        var program = cli.Write("benchmarks", "#!/bin/sh\n");

        var run = await cli.With("PLATFORM_BENCHMARKS", program).RunAsync("bench", "train", "--quick", "--rounds", "3", "--only", "bf16,mesh");

        Assert.Equal((0, ""), (run.Code, run.Error));
        Assert.Equal(program, cli.Became?.Program);
        Assert.Equal(["train", "--device", "cpu", "--quick", "--rounds", "3", "--only", "bf16,mesh"], cli.Became?.Arguments);
    }

    [Fact]
    public async Task Passes_the_options_of_a_load_on_an_endpoint()
    {
        using var cli = new CommandLine();
        var program = cli.Write("benchmarks", "#!/bin/sh\n");

        var run = await cli.With("PLATFORM_BENCHMARKS", program).RunAsync(
            "bench", "serve", "--url", "http://localhost:1", "--model", "m", "--request-rate", "2.5", "--requests", "7", "--api-key", "k");

        Assert.Equal((0, ""), (run.Code, run.Error));
        Assert.Equal(
            ["serve", "--dtype", "bf16", "--url", "http://localhost:1", "--model", "m", "--requests", "7", "--request-rate", "2.5", "--api-key", "k"],
            cli.Became?.Arguments);
    }

    [Fact]
    public async Task Says_how_the_benchmarks_are_built()
    {
        using var cli = new CommandLine();

        var run = await cli.With("PLATFORM_BENCHMARKS", "/absent/benchmarks").RunAsync("bench", "collectives");

        Assert.Equal(1, run.Code);
        Assert.Contains("/absent/benchmarks", run.Error, StringComparison.Ordinal);
        Assert.Contains("build/build.sh all", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Refuses_a_device_that_there_is_not()
    {
        using var cli = new CommandLine();

        var run = await cli.RunAsync("bench", "train", "--device", "tpu");

        Assert.NotEqual(0, run.Code);
        Assert.Null(cli.Became);
    }
}
