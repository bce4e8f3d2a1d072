namespace Platform.Worker;

/// <summary>Ranks run this very program, unless the configuration names another.</summary>
internal static class OwnProgram
{
    public static void UseForRanks(WebApplicationBuilder builder)
    {
        if (builder.Configuration.GetSection("Agent:WorkerCommand").GetChildren().Any())
        {
            return;
        }

        string program = Environment.ProcessPath ?? "platform-worker";
        // Started as "dotnet platform-worker.dll", the process is dotnet and the program its first argument.
        string[] command = Path.GetFileNameWithoutExtension(program) == "dotnet"
            ? [program, Path.Combine(AppContext.BaseDirectory, "platform-worker.dll")]
            : [program];
        builder.Configuration.AddInMemoryCollection(
            command.Select((part, i) => KeyValuePair.Create<string, string?>($"Agent:WorkerCommand:{i}", part)));
    }
}
