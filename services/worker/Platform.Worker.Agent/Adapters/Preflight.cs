using System.Text.Json;
using System.Text.Json.Nodes;
using Platform.Core.Gangs;
using Platform.Core.Jobs;
using Platform.Core.Validation;
using Platform.Hosting.Artifacts;
using Platform.Worker.Agent.Adapters.Processes;

namespace Platform.Worker.Agent.Adapters;

/// <summary>Checks, before anything is started, whether an attempt could run on this node.</summary>
internal sealed class Preflight(ArtifactOptions artifacts, AgentOptions options)
{
    /// <summary>Runs the checks.</summary>
    /// <returns>The first thing that hinders the attempt; null when nothing does.</returns>
    public GangFailure? Check(GangAssignment assignment)
    {
        try
        {
            return assignment.Kind == WorkloadKind.Command
                ? CheckCommand(assignment) ?? CheckStore(assignment)
                : CheckProgram(assignment) ?? CheckStore(assignment) ?? CheckInput(assignment);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or JsonException or ArgumentException)
        {
            return Unreadable(exception.Message, permanent: false);
        }
    }

    private static GangFailure Unreadable(string message, bool permanent) =>
        new() { Code = FailureCode.InputUnreadable, Message = message, IsPermanent = permanent };

    private static bool CanRead(string pattern)
    {
        if (File.Exists(pattern) || Directory.Exists(pattern))
        {
            return true;
        }

        int wildcard = pattern.IndexOfAny(['*', '?', '[', '{']);
        if (wildcard < 0)
        {
            return false;
        }

        // The directory before the first wildcard; what matches in it is the reader's business.
        int slash = pattern.LastIndexOf('/', wildcard);
        return Directory.Exists(slash > 0 ? pattern[..slash] : "/");
    }

    private GangFailure? CheckProgram(GangAssignment assignment)
    {
        string[] command = assignment.Kind == WorkloadKind.Serving ? options.ServingCommand : options.WorkerCommand;
        string key = assignment.Kind == WorkloadKind.Serving ? "Agent:ServingCommand" : "Agent:WorkerCommand";
        if (command.Length > 0 && ProcessStarter.Exists(command[0]))
        {
            return null;
        }

        return new GangFailure
        {
            Code = FailureCode.LaunchFailed,
            Message = command.Length == 0
                ? $"Node {options.Node} has no {key}, so it cannot run this kind of work."
                : $"The program {command[0]} of {key} does not exist on node {options.Node}.",
        };
    }

    private GangFailure? CheckCommand(GangAssignment assignment)
    {
        if (CommandJobReader.Read(JsonNode.Parse(assignment.Workload)) is not Validated<CommandJobSpec>.Valid { Value: var job })
        {
            return Unreadable("The job cannot be used: it is no CommandJob.", permanent: true);
        }

        return ProcessStarter.Exists(job.Command[0])
            ? null
            : new GangFailure { Code = FailureCode.LaunchFailed, Message = $"The program {job.Command[0]} does not exist on node {options.Node}." };
    }

    private GangFailure? CheckStore(GangAssignment assignment)
    {
        string logs = artifacts.Resolve(Path.Combine(assignment.Gang, $"{assignment.Attempt}", "logs"));
        Directory.CreateDirectory(logs);
        string probe = Path.Combine(logs, $".{options.Node}.{Guid.NewGuid():N}");
        File.WriteAllBytes(probe, []);
        File.Delete(probe);
        return null;
    }

    private GangFailure? CheckInput(GangAssignment assignment)
    {
        if (assignment.ResumeFrom is { } checkpoint && !Directory.Exists(artifacts.Resolve(checkpoint)))
        {
            return new GangFailure
            {
                Code = FailureCode.CheckpointCorrupt,
                Message = $"The checkpoint {checkpoint} to resume from is not there on node {options.Node}.",
                Checkpoint = checkpoint,
            };
        }

        return assignment.Kind == WorkloadKind.Serving ? CheckReplica(assignment) : CheckTraining(assignment);
    }

    private GangFailure? CheckReplica(GangAssignment assignment)
    {
        ReplicaWorkload replica = GangJson.Read<ReplicaWorkload>(assignment.Workload);
        IEnumerable<string> configs =
        [
            Path.Combine(artifacts.Resolve(replica.ModelDirectory), "config.json"),
            .. replica.Adapters.Select(adapter => Path.Combine(artifacts.Resolve(adapter.Directory), "adapter_config.json")),
            .. replica.DraftDirectory is { } draft ? [Path.Combine(artifacts.Resolve(draft), "config.json")] : Array.Empty<string>(),
        ];
        string? missing = configs.FirstOrDefault(config => !File.Exists(config));
        return missing is null ? null : Unreadable($"The model's {missing} cannot be read on node {options.Node}.", permanent: false);
    }

    private GangFailure? CheckTraining(GangAssignment assignment)
    {
        switch (JobSpecReader.Read(JsonNode.Parse(assignment.Workload)))
        {
            case Validated<TrainingJobSpec>.Invalid invalid:
                return Unreadable($"The job cannot be used: {string.Join(" ", invalid.Violations)}", permanent: true);
            case Validated<TrainingJobSpec>.Valid valid:
                IEnumerable<string> inputs = valid.Value.Data.Source;
                if (valid.Value.Data.Tokenizer is TokenizerSpec.Directory tokenizer)
                {
                    inputs = inputs.Append(Path.Combine(tokenizer.Path, "tokenizer.json"));
                }

                if (valid.Value.Model.From is { } from)
                {
                    inputs = inputs.Append(Path.Combine(from, "config.json"));
                }

                string[] missing = [.. inputs.Where(p => !CanRead(artifacts.Resolve(p)))];
                return missing.Length == 0
                    ? null
                    : Unreadable($"{string.Join(", ", missing)} cannot be read on node {options.Node}.", permanent: true);
            default:
                return null;
        }
    }
}
