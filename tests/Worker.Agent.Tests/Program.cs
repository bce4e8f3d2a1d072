using Platform.Hosting;
using Xunit.MicrosoftTestingPlatform;
using Xunit.Runner.InProc.SystemConsole;

namespace Platform.Worker.Agent.Tests;

/// <summary>Runs the tests, or an agent when a test asks for one in a process of its own.</summary>
public static class Program
{
    public static async Task<int> Main(string[] args) => args switch
    {
        ["agent", .. var rest] => await PlatformHost.RunAsync(() => AgentApplication.Build(rest)),
        _ when args.Any(a => a is "--server" or "--internal-msbuild-node") =>
            await TestPlatformTestFramework.RunAsync(args, SelfRegisteredExtensions.AddSelfRegisteredExtensions),
        _ => await ConsoleRunner.Run(args),
    };
}
