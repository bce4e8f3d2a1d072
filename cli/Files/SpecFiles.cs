using System.Text.Json.Nodes;
using Platform.Core.Deployments;
using Platform.Core.Jobs;
using Platform.Core.Validation;
using Platform.V1;
using ProtoJobSpec = Platform.V1.JobSpec;

namespace Platform.Cli.Files;

/// <summary>From files to API messages.</summary>
internal static class SpecFiles
{
    /// <summary>Reads a job file.</summary>
    /// <param name="file">The file.</param>
    /// <param name="terminal">Where relative paths start.</param>
    /// <param name="isLocal">The server is on this machine, so that data must exist here.</param>
    /// <exception cref="CommandException">Something is wrong with the file; the message lists everything.</exception>
    public static ProtoJobSpec ReadJob(SpecFile file, Terminal terminal, bool isLocal)
    {
        if (CommandJobReader.IsCommandJob(file.Root))
        {
            var command = Accept(file, CommandJobReader.Read(file.Root), []);
            return Google.Protobuf.JsonParser.Default.Parse<ProtoJobSpec>(CommandJobReader.ToJson(command).ToJsonString());
        }

        var missing = new DataPaths(file, terminal).Resolve(isLocal);
        var job = Accept(file, JobSpecReader.Read(file.Root), missing);
        return Google.Protobuf.JsonParser.Default.Parse<ProtoJobSpec>(JobSpecWriter.ToJson(job).ToJsonString());
    }

    /// <summary>Reads a deployment file.</summary>
    /// <param name="file">The file.</param>
    /// <param name="modelName">Resource name of a model by its id.</param>
    /// <exception cref="CommandException">Something is wrong with the file; the message lists everything.</exception>
    public static Deployment ReadDeployment(SpecFile file, Func<string, string> modelName)
    {
        var spec = Accept(file, DeploymentSpecReader.Read(file.Root), []);
        JsonObject sections = DeploymentSpecWriter.SectionsToJson(spec);
        var deployment = Google.Protobuf.JsonParser.Default.Parse<Deployment>(sections.ToJsonString());
        deployment.Model = modelName(spec.Model);
        return deployment;
    }

    private static T Accept<T>(SpecFile file, Validated<T> read, IReadOnlyList<Violation> further)
    {
        var violations = read is Validated<T>.Invalid invalid ? [.. invalid.Violations, .. further] : further;
        return read is Validated<T>.Valid valid && violations.Count == 0 && file.IsWellFormed
            ? valid.Value
            : throw file.Refuse(violations);
    }
}
