using Google.LongRunning;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Platform.Cli.Tests.Scripted;
using Platform.V1;
using Xunit;

namespace Platform.Cli.Tests.Commands;

public sealed class ModelsTests
{
    [Fact]
    public async Task Imports_and_waits_until_the_operation_is_done()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        var asked = 0;
        platform.Script
            .On<ImportModelRequest, Operation>(_ => new Operation { Name = "operations/7", Metadata = Any.Pack(new ImportModelMetadata { BytesTotal = 10 }) })
            .On<GetOperationRequest, Operation>(request => ++asked < 2
                ? new Operation { Name = request.Name }
                : new Operation { Name = request.Name, Done = true, Response = Any.Pack(new Model { Name = "projects/default/models/tiny", Version = 1 }) });
        using var cli = new CommandLine(platform.Address);
        var directory = Path.GetDirectoryName(cli.Write("tiny/config.json", "{}"));

        var run = await cli.RunAsync("models", "import", "tiny", "--name", "tiny");

        Assert.Equal((0, "projects/default/models/tiny\n"), (run.Code, run.Output));
        var request = platform.Script.Only<ImportModelRequest>();
        Assert.Equal((directory, "tiny"), (request.Path, request.ModelId));
        Assert.Equal(2, asked);
    }

    [Fact]
    public async Task Says_why_an_import_failed()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.On<ImportModelRequest, Operation>(_ => new Operation
        {
            Name = "operations/7",
            Done = true,
            Error = Samples.Error(StatusCode.FailedPrecondition, "model.safetensors is truncated.", "MODEL_CORRUPT").GetRpcStatus(),
        });
        using var cli = new CommandLine(platform.Address);
        cli.Write("tiny/config.json", "{}");

        var run = await cli.RunAsync("models", "import", "tiny", "--name", "tiny");

        Assert.Equal((1, "error: model.safetensors is truncated. (MODEL_CORRUPT)\n"), (run.Code, run.Error));
    }

    [Fact]
    public async Task Refuses_to_import_a_directory_that_is_not_there()
    {
        using var cli = new CommandLine();

        var run = await cli.RunAsync("models", "import", "absent", "--name", "tiny");

        Assert.Equal((1, $"There is no directory {cli.Directory}/absent.\n"), (run.Code, run.Error));
    }

    [Fact]
    public async Task Exports_to_an_absolute_path()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.On<ExportModelRequest, Operation>(request => new Operation
        {
            Name = "operations/8",
            Done = true,
            Response = Any.Pack(new ExportModelResponse { Path = request.Path, Bytes = 3 << 20 }),
        });
        using var cli = new CommandLine(platform.Address);

        var run = await cli.RunAsync("models", "export", "docs-lm", "out");

        Assert.Equal((0, $"{cli.Directory}/out (3.0 MiB)\n"), (run.Code, run.Output));
        Assert.Equal("projects/default/models/docs-lm", platform.Script.Only<ExportModelRequest>().Name);
    }

    [Fact]
    public async Task Lists_shows_and_deletes()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        var model = new Model { Name = "projects/default/models/docs-lm", Version = 2, Architecture = "llama", Parameters = 12_000_000, SizeBytes = 24_000_000, ContextLength = 512, SourceJob = "projects/default/jobs/docs-lm-1", FinalLoss = 3.25 };
        platform.Script
            .On<ListModelsRequest, ListModelsResponse>(_ => new ListModelsResponse { Models = { model } })
            .On<GetModelRequest, Model>(_ => model)
            .On<DeleteModelRequest, Empty>(_ => new Empty());
        using var cli = new CommandLine(platform.Address);

        Assert.Contains("docs-lm  2        llama         12.0M       22.9 MiB  512      3.2500  docs-lm-1", (await cli.RunAsync("models", "list")).Output, StringComparison.Ordinal);
        Assert.Contains("source          projects/default/jobs/docs-lm-1", (await cli.RunAsync("models", "get", "docs-lm")).OutputLines);
        Assert.Equal("Deleted projects/default/models/docs-lm\n", (await cli.RunAsync("models", "delete", "docs-lm")).Output);
    }
}
