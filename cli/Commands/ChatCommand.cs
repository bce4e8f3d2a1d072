using System.CommandLine;
using System.Text;
using Grpc.Core;
using Platform.Cli.Output;
using Platform.V1;

namespace Platform.Cli.Commands;

/// <summary><c>platform chat</c>: a conversation, one line per message.</summary>
internal static class ChatCommand
{
    public static Command Create(CommandRunner runner)
    {
        var model = new Argument<string>("MODEL") { Description = "Deployment id." };
        var system = new Option<string?>("--system") { Description = "What the model is told before the conversation.", HelpName = "TEXT" };
        var sampling = new SamplingOptions();
        var command = new ExampledCommand(
            "chat",
            "Talk with a deployed model. Each line of input is a message; /exit or Ctrl-D ends.",
            "platform chat docs-lm --temperature 0.7",
            "echo 'What is a list?' | platform chat docs-lm")
        {
            model, system,
        };
        sampling.AddTo(command);
        runner.Handle(command, async call =>
        {
            var conversation = new ChatRequest { Model = call.Parse.GetRequiredValue(model), Sampling = sampling.Read(call.Parse) };
            if (call.Parse.GetValue(system) is { Length: > 0 } told)
                conversation.Messages.Add(new ChatMessage { Role = "system", Content = told });
            while (await AskAsync(call) is { } message && message.Trim() is not ("/exit" or "/quit"))
            {
                if (message.Trim().Length == 0)
                    continue;
                conversation.Messages.Add(new ChatMessage { Role = "user", Content = message });
                conversation.Messages.Add(new ChatMessage { Role = "assistant", Content = await AnswerAsync(call, conversation) });
            }
        });
        return command;
    }

    private static async Task<string?> AskAsync(CommandCall call)
    {
        if (call.Terminal.IsInputInteractive)
        {
            call.Terminal.Error.Write("> ");
            call.Terminal.Error.Flush();
        }

        return await call.Terminal.Input.ReadLineAsync(call.Cancellation);
    }

    private static async Task<string> AnswerAsync(CommandCall call, ChatRequest conversation)
    {
        var answer = new StringBuilder();
        using var stream = call.Session.Inference.Chat(conversation, call.Session.Generation(call.Cancellation));
        await foreach (var message in stream.ResponseStream.ReadAllAsync(call.Cancellation))
        {
            answer.Append(message.Text);
            if (call.Format != OutputFormat.Table)
            {
                MessageWriter.WriteNext(call.Output, message, call.Format);
                continue;
            }

            call.Output.Write(message.Text);
            call.Output.Flush();
        }

        if (call.Format == OutputFormat.Table)
            call.Output.WriteLine();
        return answer.ToString();
    }
}
