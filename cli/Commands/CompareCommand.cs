using System.CommandLine;
using System.Globalization;
using Platform.Cli.Output;
using Platform.V1;

namespace Platform.Cli.Commands;

/// <summary><c>platform compare</c>: one prompt to several models.</summary>
internal static class CompareCommand
{
    public static Command Create(CommandRunner runner)
    {
        var models = new Option<string>("--models") { Description = "Deployed models, separated by commas.", HelpName = "A,B", Required = true };
        var prompt = new Option<string?>("--prompt") { Description = "Text to continue; read from standard input when not given.", HelpName = "TEXT" };
        var chat = new Option<bool>("--chat") { Description = "The prompt is a user's message, to be put into each model's template." };
        var price = new Option<double?>("--price") { Description = "Price of a device for an hour; the gateway's setting unless given.", HelpName = "P" };
        var sampling = new SamplingOptions();
        var command = new ExampledCommand(
            "compare",
            "Give one prompt to several deployed models: answers, speed and cost side by side.",
            "platform compare --models docs-lm,docs-lm-large --prompt \"Gets or sets the\" --max-tokens 64 --temperature 0",
            "platform compare --models a,b --chat --prompt \"What is a gang?\" --price 2.50 -o json")
        {
            models, prompt, chat, price,
        };
        sampling.AddTo(command);
        runner.Handle(command, async call =>
        {
            var request = new CompareRequest { Sampling = sampling.Read(call.Parse) };
            request.Models.AddRange(call.Parse.GetRequiredValue(models).Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries));
            string text = call.Parse.GetValue(prompt) ?? await call.Terminal.Input.ReadToEndAsync(call.Cancellation);
            if (call.Parse.GetValue(chat))
                request.Messages.Add(new ChatMessage { Role = "user", Content = text });
            else
                request.Prompt = text;
            if (call.Parse.GetValue(price) is { } given)
                request.PricePerDeviceHour = given;
            var compared = await call.Session.Inference.CompareAsync(request, call.Session.Generation(call.Cancellation));
            call.Print(compared, () => Show(call, compared));
            if (compared.Results.Any(result => result.Error.Length > 0))
                throw new CommandException($"error: {string.Join(", ", compared.Results.Where(result => result.Error.Length > 0).Select(result => result.Model))} gave no answer.");
        });
        return command;
    }

    private static void Show(CommandCall call, CompareResponse compared)
    {
        var table = new TextTable("MODEL", "TOKENS", "FIRST TOKEN", "TOKENS/S", "DEVICE TIME", "PER MILLION TOKENS", "END");
        foreach (var result in compared.Results.Where(result => result.Error.Length == 0))
        {
            table.Add(
                result.Model,
                $"{result.Usage.CompletionTokens}",
                result.TimeToFirstToken is { } first ? Milliseconds(first.ToTimeSpan().TotalSeconds) : "-",
                result.TokensPerSecond > 0 ? Number(result.TokensPerSecond, "0.0") : "-",
                Milliseconds(result.Usage.DeviceSeconds),
                result.HasCostPerMillionTokens ? Number(result.CostPerMillionTokens, "0.0000") : "-",
                result.FinishReason);
        }

        table.Write(call.Output, "No model gave an answer.");
        foreach (var result in compared.Results)
        {
            call.Output.WriteLine();
            call.Output.WriteLine($"--- {result.Model}");
            call.Output.WriteLine(result.Error.Length > 0 ? $"no answer: {result.Error}" : result.Text.TrimEnd());
        }
    }

    private static string Milliseconds(double seconds) => Number(seconds * 1000, "0.0") + " ms";

    private static string Number(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);
}
