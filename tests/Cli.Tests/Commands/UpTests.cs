using System.Diagnostics;
using System.Runtime.InteropServices;
using Platform.Cli.Tests.Scripted;
using Xunit;

namespace Platform.Cli.Tests.Commands;

public sealed class UpTests
{
    [Fact]
    public async Task Becomes_the_standalone_program_with_its_settings()
    {
        using var cli = new CommandLine();
        var program = cli.Write("platform-standalone", "#!/bin/sh\n");

        var run = await cli.With("PLATFORM_STANDALONE", program).RunAsync("up", "--grpc-port", "0", "--data", "here", "--nodes", "3", "--ready-file", "ready.json", "--host", "0.0.0.0", "--", "--Scheduler:LeaseSeconds=5");

        Assert.Equal((0, ""), (run.Code, run.Error));
        Assert.Equal(program, cli.Became?.Program);
        Assert.Equal(
            [
                "--http-port", "8080", "--grpc-port", "0", "--nodes", "3", "--devices-per-node", "4",
                "--host", "0.0.0.0", "--data", Path.Combine(cli.Directory, "here"), "--ready-file", Path.Combine(cli.Directory, "ready.json"), "--Scheduler:LeaseSeconds=5",
            ],
            cli.Became?.Arguments);
    }

    [Theory]
    [InlineData("--nodes: 0 is out of range; allowed is 1 to 64.", "--nodes", "0")]
    [InlineData("--http-port: 70000 is out of range; allowed is 0 to 65535.", "--http-port", "70000")]
    public async Task Refuses_numbers_out_of_range(string error, params string[] args)
    {
        using var cli = new CommandLine();

        var run = await cli.RunAsync(["up", .. args]);

        Assert.Equal((1, error + "\n"), (run.Code, run.Error));
        Assert.Null(cli.Became);
    }

    [Fact]
    public async Task Says_where_it_looked_for_the_program()
    {
        using var cli = new CommandLine();

        var run = await cli.With("PLATFORM_STANDALONE", "/absent/platform-standalone").RunAsync("up");

        Assert.Equal(1, run.Code);
        Assert.Contains("/absent/platform-standalone", run.Error, StringComparison.Ordinal);
        Assert.Contains("build/build.sh runtime", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_program_keeps_the_process_and_gets_its_signals()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "Processes are replaced by execve, which Windows lacks.");
        using var cli = new CommandLine();
        var program = cli.Write("standalone.sh", "#!/bin/sh\ntrap 'echo stopped; exit 7' TERM\necho \"$$ $SEEN $*\"\nwhile :; do read -r line || :; done\n");
        if (!OperatingSystem.IsWindows())
            File.SetUnixFileMode(program, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        var start = new ProcessStartInfo(Path.Combine(AppContext.BaseDirectory, "platform"), ["up", "--nodes", "1"])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            Environment = { ["PLATFORM_STANDALONE"] = program, ["SEEN"] = "it" },
        };
        using var process = Process.Start(start) ?? throw new InvalidOperationException("The program did not start.");
        try
        {
            var first = await process.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken).AsTask().WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
            Assert.Equal($"{process.Id} it --http-port 8080 --grpc-port 8081 --nodes 1 --devices-per-node 4", first);

            Assert.Equal(0, Kill(process.Id, 15));
            Wake(process);

            Assert.Equal("stopped", await process.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken).AsTask().WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken));
            await process.WaitForExitAsync(TestContext.Current.CancellationToken).WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
            Assert.Equal(7, process.ExitCode);
        }
        finally
        {
            if (!process.HasExited)
                process.Kill(entireProcessTree: true);
        }
    }

    // A shell may act on the signal at once or only when its read returns.
    private static void Wake(Process process)
    {
        try
        {
            process.StandardInput.WriteLine("wake");
        }
        catch (IOException)
        {
            // It is gone already.
        }
    }

    [DllImport("libc", EntryPoint = "kill")]
    private static extern int Kill(int process, int signal);
}
