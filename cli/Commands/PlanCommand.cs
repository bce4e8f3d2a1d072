using System.CommandLine;
using System.Text.Json.Nodes;
using Google.Protobuf;
using Platform.Cli.Files;
using Platform.Cli.Output;
using Platform.Core.Jobs;
using Platform.Core.Specs;
using Platform.Core.Validation;
using Platform.Formats;
using Platform.Formats.HuggingFace;
using Platform.Scheduling.Planning;
using Platform.V1;

namespace Platform.Cli.Commands;

/// <summary>
/// <c>platform plan</c>: what a job would need, how long it would take and what it would cost, on the cluster of the server
/// or, without one, on a cluster described by options.
/// </summary>
internal static class PlanCommand
{
    private static readonly JsonFormatter SpecJson = new(JsonFormatter.Settings.Default.WithPreserveProtoFieldNames(true));

    public static Command Create(CommandRunner runner)
    {
        var input = new JobFileInput();
        var cluster = new ClusterInput();
        var price = new Option<double?>("--price") { Description = "Price of a device for an hour, in any currency.", HelpName = "PRICE" };
        var command = new ExampledCommand(
            "plan",
            "Choose a layout for a job, or check its own, and predict memory, time and cost, without submitting it.",
            "platform plan job.yaml",
            "platform plan job.yaml --set parallelism=auto --nodes 4 --devices-per-node 8 --device-kind h100",
            "platform plan job.yaml --nodes 1 --devices-per-node 8 --device-kind a100 --device-memory 40GiB --price 2.5")
        {
            input.File, input.Changes, cluster.Nodes, cluster.DevicesPerNode, cluster.DeviceKind, cluster.DeviceMemory, price,
        };
        runner.Handle(command, async call =>
        {
            var each = call.Parse.GetValue(price);
            if (each < 0)
                throw new CommandException($"--price: Expected 0 or more, found {each}.");
            var plan = cluster.Read(call.Parse, each) is { } asked
                ? PlanHere(SpecFile.Load(call.Parse.GetRequiredValue(input.File), call.Parse.GetValue(input.Changes) ?? [], call.Terminal), call.Terminal, asked)
                : await input.SendAsync(call, spec =>
                {
                    var request = new PlanJobRequest { Parent = call.Session.Names.Parent, Spec = spec };
                    if (each is { } given)
                        request.PricePerDeviceHour = given;
                    return call.Session.Jobs.PlanJobAsync(request, call.Session.Call(call.Cancellation));
                });
            call.Print(plan, () => PlanTables.Write(call.Output, plan));
            return plan.Infeasible.Length == 0 ? ExitCode.Success : ExitCode.Failure;
        });
        return command;
    }

    /// <summary>Plans without a server.</summary>
    private static PlanJobResponse PlanHere(SpecFile file, Terminal terminal, PlannedCluster cluster)
    {
        var message = SpecFiles.ReadJob(file, terminal, isLocal: false);
        if (JobSpecReader.Read(JsonNode.Parse(SpecJson.Format(message))) is not Validated<TrainingJobSpec>.Valid { Value: var job })
            throw new CommandException($"{file.Name}: The job cannot be read.");
        var notes = new List<string>();
        var model = (job.Model.From is { } from ? ShapeIn(from) : ModelShapes.Of(job, notes))
            ?? throw new CommandException($"{file.Locate("model")}: The shape of the model is not known here; give it, or a local Hugging Face directory.");
        var plan = job.Parallelism.Auto
            ? LayoutPlanner.Choose(job, model, cluster, _ => true, notes)
            : LayoutPlanner.Predict(job, model, cluster, _ => true, notes);
        return JsonParser.Default.Parse<PlanJobResponse>(PlanJson.Response(plan).ToJsonString());
    }

    private static Core.Models.ModelConfig? ShapeIn(string directory)
    {
        try
        {
            return HuggingFaceConfig.Read(Path.Combine(directory, HuggingFaceConfig.FileName)).Model;
        }
        catch (Exception error) when (error is ModelFormatException or IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>Options that describe a cluster.</summary>
    private sealed class ClusterInput
    {
        public Option<int?> Nodes { get; } = new("--nodes") { Description = "Plan for so many nodes, without asking a server.", HelpName = "N" };

        public Option<int?> DevicesPerNode { get; } = new("--devices-per-node") { Description = "Devices of each of these nodes; 8 if not given.", HelpName = "N" };

        public Option<string?> DeviceKind { get; } = new("--device-kind")
        {
            Description = $"Kind of these devices: {string.Join(", ", DeviceProfile.Kinds)}; h100 if not given.",
            HelpName = "KIND",
        };

        public Option<string?> DeviceMemory { get; } = new("--device-memory") { Description = "Memory of such a device, such as 80GiB; that of the kind if not given.", HelpName = "SIZE" };

        /// <summary>The cluster; null when no option describes one.</summary>
        public PlannedCluster? Read(ParseResult parse, double? price)
        {
            var (nodes, each, kind, memory) = (parse.GetValue(Nodes), parse.GetValue(DevicesPerNode), parse.GetValue(DeviceKind), parse.GetValue(DeviceMemory));
            if (nodes is null && each is null && kind is null && memory is null)
                return null;
            var profile = DeviceProfile.Find(kind ?? "h100")
                ?? throw new CommandException($"--device-kind: '{kind}' is not a known kind; use cuda or one of {string.Join(", ", DeviceProfile.Kinds)}.");
            long? bytes = null;
            if (memory is not null)
                bytes = ByteSize.TryParse(memory, out var size) && size > 0 ? size : throw new CommandException($"--device-memory: '{memory}' is no size such as 80GiB.");
            return PlannedCluster.Of(InRange("--nodes", nodes ?? 1, 100_000), InRange("--devices-per-node", each ?? 8, 1024), bytes, profile, price);
        }

        private static int InRange(string option, int value, int most) =>
            value >= 1 && value <= most ? value : throw new CommandException($"{option}: Expected 1 to {most}, found {value}.");
    }
}
