using System.Reflection;

namespace Platform.EndToEnd.Tests.Harness;

/// <summary>The programs that the build made.</summary>
internal static class Checkout
{
    public static string Root { get; } = Find();

    public static string Cli => Program("Platform.Cli", "platform");

    public static string Standalone => Program("Platform.Standalone", "platform-standalone");

    public static string Scheduler => Program("Platform.Scheduler", "platform-scheduler");

    public static string Gateway => Program("Platform.Gateway", "platform-gateway");

    public static string Worker => Program("Platform.Worker", "platform-worker");

    public static string Serving => Program("Platform.Serving", "platform-serving");

    public static string Benchmarks => Program("Platform.Benchmarks", "Platform.Benchmarks");

    private static string Program(string project, string name)
    {
        string path = Path.Combine(Root, "artifacts", "bin", project, "release", name);
        return File.Exists(path) ? path : throw new InvalidOperationException($"{path} is missing; build the whole solution (make build).");
    }

    private static string Find()
    {
        var directory = new DirectoryInfo(Path.GetDirectoryName(Assembly.GetExecutingAssembly().Location) ?? ".");
        while (directory is not null && !File.Exists(Path.Combine(directory.FullName, "Platform.sln")))
            directory = directory.Parent;
        return directory?.FullName ?? throw new InvalidOperationException("Platform.sln is in no directory above the test program.");
    }
}
