using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using Grpc.Core;
using Platform.Cli.Output;
using Platform.V1;

namespace Platform.Cli.Commands;

/// <summary><c>platform generate</c>: streams a completion.</summary>
internal static class GenerateCommand
{
    public static Command Create(CommandRunner runner)
    {
        var model = new Argument<string>("MODEL") { Description = "Deployment id." };
        var prompt = new Argument<string?>("PROMPT") { Description = "Text to continue; read from standard input when not given.", Arity = ArgumentArity.ZeroOrOne };
        var sampling = new SamplingOptions();
        var command = new ExampledCommand(
            "generate",
            "Continue a text with a deployed model, printing it as it comes.",
            "platform generate docs-lm \"Gets or sets the\" --max-tokens 64",
            "platform generate docs-lm \"Returns\" --temperature 0 -o json")
        {
            model, prompt,
        };
        sampling.AddTo(command);
        runner.Handle(command, async call =>
        {
            var request = new GenerateRequest
            {
                Model = call.Parse.GetRequiredValue(model),
                Prompt = call.Parse.GetValue(prompt) ?? await call.Terminal.Input.ReadToEndAsync(call.Cancellation),
                Sampling = sampling.Read(call.Parse),
            };
            await StreamAsync(call, request);
        });
        return command;
    }

    private static async Task StreamAsync(CommandCall call, GenerateRequest request)
    {
        var (clock, toFirst, finish) = (Stopwatch.StartNew(), default(TimeSpan?), "");
        Usage? usage = null;
        using var stream = call.Session.Inference.Generate(request, call.Session.Generation(call.Cancellation));
        await foreach (var message in stream.ResponseStream.ReadAllAsync(call.Cancellation))
        {
            if (message.Text.Length > 0)
                toFirst ??= clock.Elapsed;
            if (call.Format == OutputFormat.Table)
            {
                call.Output.Write(message.Text);
                call.Output.Flush();
            }
            else
            {
                MessageWriter.WriteNext(call.Output, message, call.Format);
            }

            finish = message.FinishReason.Length > 0 ? message.FinishReason : finish;
            usage = message.Usage ?? usage;
        }

        if (call.Format == OutputFormat.Table)
            call.Output.WriteLine();
        if (finish == "error")
            throw new CommandException("error: The generation ended with an error.");
        if (call.Format == OutputFormat.Table && call.Terminal.IsInteractive && usage is not null && toFirst is { } first)
            call.Terminal.Error.WriteLine(Summary(usage, finish, first, clock.Elapsed));
    }

    private static string Summary(Usage usage, string finish, TimeSpan toFirst, TimeSpan total)
    {
        var decoding = (total - toFirst).TotalSeconds;
        var speed = usage.CompletionTokens > 1 && decoding > 0
            ? string.Create(CultureInfo.InvariantCulture, $", {(usage.CompletionTokens - 1) / decoding:0.0} tokens/s")
            : "";
        return string.Create(CultureInfo.InvariantCulture, $"[{usage.CompletionTokens} tokens, first after {toFirst.TotalMilliseconds:0} ms{speed}, {finish}]");
    }
}
