using System.Text.Json;
using Grpc.Net.Client;
using Platform.V1;

namespace Platform.EndToEnd.Tests.Harness;

/// <summary><c>platform up</c> on free ports, and clients for it.</summary>
internal sealed class StandaloneServer : IAsyncDisposable
{
    private StandaloneServer(RunningProgram program, string http, string grpc)
    {
        Program = program;
        Http = http;
        Grpc = grpc;
        Channel = GrpcChannel.ForAddress(grpc);
    }

    public RunningProgram Program { get; }

    public string Http { get; }

    public string Grpc { get; }

    public GrpcChannel Channel { get; }

    public JobService.JobServiceClient Jobs => new(Channel);

    public static async Task<StandaloneServer> StartAsync(string data, CancellationToken cancellation, params string[] settings)
    {
        string ready = Path.Combine(Path.GetDirectoryName(data) ?? data, $"ready-{Guid.NewGuid():N}.json");
        var program = RunningProgram.Start(
            Checkout.Cli, ["up", "--http-port", "0", "--grpc-port", "0", "--data", data, "--ready-file", ready, .. settings]);
        try
        {
            await program.WaitForLineAsync(line => line.StartsWith("The platform is up", StringComparison.Ordinal), cancellation);
            var addresses = JsonDocument.Parse(await File.ReadAllTextAsync(ready, cancellation)).RootElement.GetProperty("addresses");
            return new StandaloneServer(
                program, addresses.GetProperty("http").GetString() ?? "", addresses.GetProperty("grpc").GetString() ?? "");
        }
        catch
        {
            await program.DisposeAsync();
            throw;
        }
    }

    /// <summary>Runs the command line against this server.</summary>
    public Task<(int ExitCode, string Output)> CliAsync(CancellationToken cancellation, params string[] args) =>
        RunningProgram.RunAsync(Checkout.Cli, args, cancellation, new Dictionary<string, string> { ["PLATFORM_SERVER"] = Grpc });

    /// <summary>Watches a job until a condition holds.</summary>
    public async Task<Job> WatchAsync(string name, Func<Job, bool> until, CancellationToken cancellation)
    {
        using var call = Jobs.WatchJob(new WatchJobRequest { Name = name }, cancellationToken: cancellation);
        Job? last = null;
        while (await call.ResponseStream.MoveNext(cancellation))
        {
            last = call.ResponseStream.Current.Job;
            if (until(last))
                return last;
        }
        throw new InvalidOperationException($"The job's stream ended before the condition held; last seen: {last}\n{Program.Output}");
    }

    public async ValueTask DisposeAsync()
    {
        Channel.Dispose();
        await Program.DisposeAsync();
    }
}
