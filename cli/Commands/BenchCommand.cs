using System.CommandLine;
using System.Globalization;
using Platform.Cli.Launching;

namespace Platform.Cli.Commands;

/// <summary><c>platform bench</c>: measures this machine, in place of this process.</summary>
internal static class BenchCommand
{
    public static Command Create(CommandRunner runner) => new("bench", "Measure this machine; the last lines are name=value.")
    {
        CreateTrain(runner), CreateCollectives(runner), BenchServeCommand.Create(runner),
    };

    private static ExampledCommand CreateTrain(CommandRunner runner)
    {
        var device = new Option<string>("--device") { Description = "cpu or cuda.", HelpName = "DEVICE", DefaultValueFactory = _ => "cpu" };
        device.AcceptOnlyFromAmong("cpu", "cuda");
        var quick = new Option<bool>("--quick") { Description = "A small model and few steps, to see that it works." };
        var rounds = new Option<int?>("--rounds") { Description = "Measured steps of each kind; the medians count.", HelpName = "N" };
        var only = new Option<string?>("--only") { Description = "Some of bf16, fp32, mesh and collectives, with commas between them.", HelpName = "PARTS" };
        var command = new ExampledCommand(
            "train",
            "Training steps beside the matrix-product rate of the same threads, eight ranks beside one process, collectives.",
            "platform bench train",
            "platform bench train --only bf16,mesh --rounds 9")
        {
            device, quick, rounds, only,
        };
        runner.HandleLocally(command, (parse, _) =>
        {
            List<string> arguments = ["train", "--device", parse.GetValue(device) ?? "cpu"];
            if (parse.GetValue(quick))
                arguments.Add("--quick");
            if (parse.GetValue(rounds) is { } count)
                arguments.AddRange(["--rounds", count.ToString(CultureInfo.InvariantCulture)]);
            if (parse.GetValue(only) is { } parts)
                arguments.AddRange(["--only", parts]);
            return Become(runner, arguments);
        });
        return command;
    }

    private static ExampledCommand CreateCollectives(CommandRunner runner)
    {
        var command = new ExampledCommand(
            "collectives", "All-reduce in shared memory and over TCP beside a plain loopback copy.", "platform bench collectives");
        runner.HandleLocally(command, (_, _) => Become(runner, ["collectives"]));
        return command;
    }

    /// <summary>Replaces this process by the benchmark program.</summary>
    public static Task<int> Become(CommandRunner runner, IReadOnlyList<string> arguments)
    {
        var program = LocalProgram.Benchmarks.Find(runner.Terminal.Variable, AppContext.BaseDirectory);
        return Task.FromResult(runner.Terminal.BecomeProgram(new ProgramStart(program, arguments)));
    }
}
