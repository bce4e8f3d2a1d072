using Platform.Hosting.Errors;

namespace Platform.Standalone;

/// <summary>Where the programs are that run outside the control plane, because they load libtorch.</summary>
/// <param name="Worker">Runs ranks.</param>
/// <param name="Serving">Runs replicas.</param>
public sealed record Programs(string Worker, string Serving)
{
    /// <summary>Finds both: where the options say, beside this program (a container), or where the build puts them.</summary>
    /// <exception cref="FailedPreconditionException">One is nowhere; the message says where was looked.</exception>
    public static Programs Find(StandaloneOptions options) => new(
        Find(options.WorkerProgram, "platform-worker", "Platform.Worker", "worker"),
        Find(options.ServingProgram, "platform-serving", "Platform.Serving", "serving"));

    private static string Find(string configured, string name, string project, string folder)
    {
        string here = AppContext.BaseDirectory;
        string[] places = configured.Length > 0
            ? [Path.GetFullPath(configured)]
            :
            [
                Path.Combine(here, name),
                Path.GetFullPath(Path.Combine(here, "..", folder, name)),
                Path.GetFullPath(Path.Combine(here, "..", "..", project, Path.GetFileName(Path.TrimEndingDirectorySeparator(here)), name)),
            ];
        return places.FirstOrDefault(File.Exists) ?? throw new FailedPreconditionException(
            "PROGRAM_MISSING",
            $"The program {name} was not found; looked at {string.Join(", ", places)}. Build the whole solution (make build).");
    }
}
