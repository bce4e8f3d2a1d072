using System.CommandLine;
using System.Text.Json.Nodes;
using Platform.Cli.Diagnosis;
using Platform.Cli.Output;

namespace Platform.Cli.Commands;

/// <summary><c>platform doctor</c>: what on this machine would keep the platform from working.</summary>
internal static class DoctorCommand
{
    public static Command Create(CommandRunner runner)
    {
        var command = new ExampledCommand("doctor", "Check this machine and the server. Ends with 0 when nothing is wrong.", "platform doctor", "platform doctor -o json");
        runner.HandleLocally(command, async (parse, cancellation) =>
        {
            using var session = runner.Options.Connect(parse, runner.Terminal);
            var findings = await new MachineCheckup(runner.Terminal, session).RunAsync(cancellation);
            Write(runner.Terminal.Output, findings, runner.Options.Format(parse));
            return findings.Any(finding => finding.Verdict == Verdict.Bad) ? ExitCode.Failure : ExitCode.Success;
        });
        return command;
    }

    private static void Write(TextWriter output, IReadOnlyList<Finding> findings, OutputFormat format)
    {
        if (format == OutputFormat.Table)
        {
            var table = new TextTable("CHECK", "VERDICT", "FOUND");
            foreach (var finding in findings)
                table.Add(finding.Check, Name(finding.Verdict), finding.Found);
            table.Write(output, "");
            return;
        }

        var json = new JsonObject
        {
            ["checks"] = new JsonArray([.. findings.Select(finding => new JsonObject
            {
                ["check"] = finding.Check, ["verdict"] = Name(finding.Verdict), ["found"] = finding.Found,
            })]),
        };
        output.Write(format == OutputFormat.Yaml ? YamlText.Of(json) : json.ToJsonString(new() { WriteIndented = true }) + "\n");
    }

    private static string Name(Verdict verdict) => verdict switch
    {
        Verdict.Good => "ok",
        Verdict.Doubtful => "note",
        _ => "bad",
    };
}
