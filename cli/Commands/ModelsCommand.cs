using System.CommandLine;
using System.Globalization;
using Platform.Cli.Output;
using Platform.Cli.Server;
using Platform.V1;

namespace Platform.Cli.Commands;

/// <summary><c>platform models</c>.</summary>
internal static class ModelsCommand
{
    public static Command Create(CommandRunner runner) => new("models", "Look at registered models, bring them in and take them out.")
    {
        List(runner), Get(runner), Import(runner), Export(runner), Delete(runner),
    };

    private static Argument<string> Id() => new("MODEL") { Description = "Model id or full name." };

    private static ExampledCommand List(CommandRunner runner)
    {
        var command = new ExampledCommand("list", "List registered models.", "platform models list");
        runner.Handle(command, async call =>
        {
            var all = new ListModelsResponse();
            do
            {
                var page = await call.Session.Models.ListModelsAsync(
                    new ListModelsRequest { Parent = call.Session.Names.Parent, PageToken = all.NextPageToken }, call.Session.Call(call.Cancellation));
                all.Models.AddRange(page.Models);
                all.NextPageToken = page.NextPageToken;
            }
            while (all.NextPageToken.Length > 0);
            call.Print(all, () =>
            {
                var table = new TextTable("MODEL", "VERSION", "ARCHITECTURE", "PARAMETERS", "SIZE", "CONTEXT", "LOSS", "SOURCE", "AGE");
                foreach (var model in all.Models)
                {
                    table.Add(
                        ResourceNames.Short(model.Name), Text(model.Version), model.Architecture, Show.Count(model.Parameters), Show.Bytes(model.SizeBytes),
                        Text(model.ContextLength), Show.Loss(model.HasFinalLoss ? model.FinalLoss : null),
                        model.SourceJob.Length > 0 ? ResourceNames.Short(model.SourceJob) : "import", Show.Age(model.CreateTime, DateTimeOffset.UtcNow));
                }

                table.Write(call.Output, "There are no models. Train one with 'platform train', or bring one in with 'platform models import DIR --name NAME'.");
            });
        });
        return command;
    }

    private static ExampledCommand Get(CommandRunner runner)
    {
        var id = Id();
        var command = new ExampledCommand("get", "Show one model.", "platform models get docs-lm -o json") { id };
        runner.Handle(command, async call =>
        {
            var model = await call.Session.Models.GetModelAsync(
                new GetModelRequest { Name = call.Session.Names.Model(call.Parse.GetRequiredValue(id)) }, call.Session.Call(call.Cancellation));
            call.Print(model, () =>
            {
                var table = new TextTable("FIELD", "VALUE");
                table.Add("name", model.Name);
                table.Add("version", Text(model.Version));
                table.Add("architecture", model.Architecture);
                table.Add("parameters", Show.Count(model.Parameters));
                table.Add("size", Show.Bytes(model.SizeBytes));
                table.Add("context length", Text(model.ContextLength));
                table.Add("source", model.SourceJob.Length > 0 ? model.SourceJob : "import");
                table.Add("final loss", Show.Loss(model.HasFinalLoss ? model.FinalLoss : null));
                table.Add("path", model.Path);
                table.Write(call.Output, "");
            });
        });
        return command;
    }

    private static ExampledCommand Import(CommandRunner runner)
    {
        var directory = new Argument<string>("DIR") { Description = "Hugging Face directory (config.json, *.safetensors, tokenizer.json), readable by the scheduler." };
        var name = new Option<string>("--name") { Description = "Name to register it under.", HelpName = "NAME", Required = true };
        var command = new ExampledCommand("import", "Register a Hugging Face directory as a model.", "platform models import ./tiny-llama --name tiny-llama") { directory, name };
        runner.Handle(command, async call =>
        {
            var path = call.Terminal.Absolute(call.Parse.GetRequiredValue(directory));
            if (call.Session.IsLocal && !Directory.Exists(path))
                throw new CommandException($"There is no directory {path}.");
            var operation = await call.Session.Models.ImportModelAsync(
                new ImportModelRequest
                {
                    Parent = call.Session.Names.Parent,
                    ModelId = call.Parse.GetRequiredValue(name),
                    Path = path,
                    RequestId = Guid.NewGuid().ToString(),
                },
                call.Session.Call(call.Cancellation));
            var done = await OperationPolling.WaitAsync(call.Session, operation, progress => Report(call, progress), call.Cancellation);
            var model = done.Response.Unpack<Model>();
            call.PrintCreated(model, model.Name);
        });
        return command;
    }

    private static ExampledCommand Export(CommandRunner runner)
    {
        var id = Id();
        var directory = new Argument<string>("DIR") { Description = "Directory to write, on the scheduler's machine." };
        var command = new ExampledCommand("export", "Copy a model's files to a directory.", "platform models export docs-lm ./docs-lm") { id, directory };
        runner.Handle(command, async call =>
        {
            var operation = await call.Session.Models.ExportModelAsync(
                new ExportModelRequest
                {
                    Name = call.Session.Names.Model(call.Parse.GetRequiredValue(id)),
                    Path = call.Terminal.Absolute(call.Parse.GetRequiredValue(directory)),
                },
                call.Session.Call(call.Cancellation));
            var done = await OperationPolling.WaitAsync(call.Session, operation, progress => Report(call, progress), call.Cancellation);
            var result = done.Response.Unpack<ExportModelResponse>();
            call.Print(result, () => call.Output.WriteLine($"{result.Path} ({Show.Bytes(result.Bytes)})"));
        });
        return command;
    }

    private static ExampledCommand Delete(CommandRunner runner)
    {
        var id = Id();
        var command = new ExampledCommand("delete", "Delete a model and its files; refused while a deployment uses it.", "platform models delete docs-lm") { id };
        runner.Handle(command, async call =>
        {
            var name = call.Session.Names.Model(call.Parse.GetRequiredValue(id));
            var empty = await call.Session.Models.DeleteModelAsync(new DeleteModelRequest { Name = name }, call.Session.Call(call.Cancellation));
            call.Print(empty, () => call.Output.WriteLine($"Deleted {name}"));
        });
        return command;
    }

    private static void Report(CommandCall call, ImportModelMetadata progress)
    {
        if (call.Terminal.IsInteractive && progress.BytesTotal > 0)
            call.Terminal.Error.WriteLine($"{Show.Bytes(progress.BytesDone)} of {Show.Bytes(progress.BytesTotal)}");
    }

    private static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);
}
