using System.Text.Json.Nodes;
using Grpc.Core;
using Platform.Cli.Tests.Scripted;
using Platform.V1;
using Xunit;

namespace Platform.Cli.Tests.Commands;

public sealed class GenerateTests
{
    [Fact]
    public async Task Streams_text_as_it_comes()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        var firstSeen = new TaskCompletionSource();
        platform.Script.OnStream<GenerateRequest, GenerateResponse>(async (_, writer, cancellation) =>
        {
            await writer.WriteAsync(new GenerateResponse { Text = "Gets " }, cancellation);
            await firstSeen.Task;
            await writer.WriteAsync(new GenerateResponse { Text = "the value.", FinishReason = "stop", Usage = new Usage { PromptTokens = 2, CompletionTokens = 4 } }, cancellation);
        });
        using var cli = new CommandLine(platform.Address);

        var running = cli.RunAsync("generate", "docs-lm", "A prompt", "--max-tokens", "9", "--temperature", "0", "--seed", "7", "--stop", "END");
        await cli.Output.WaitForAsync("Gets ");
        firstSeen.SetResult();
        var run = await running;

        Assert.Equal((0, "Gets the value.\n", ""), (run.Code, run.Output, run.Error));
        var request = platform.Script.Only<GenerateRequest>();
        Assert.Equal(("docs-lm", "A prompt"), (request.Model, request.Prompt));
        Assert.Equal((9, 0.0, 7L, false), (request.Sampling.MaxTokens, request.Sampling.Temperature, request.Sampling.Seed, request.Sampling.HasTopK));
        Assert.True(request.Sampling.HasTemperature);
        Assert.Equal(["END"], request.Sampling.Stop);
    }

    [Fact]
    public async Task Prints_a_line_of_json_per_message()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.OnStream<GenerateRequest, GenerateResponse>(new GenerateResponse { Text = "a\nb" }, new GenerateResponse { FinishReason = "length" });
        using var cli = new CommandLine(platform.Address) { Input = "piped prompt" };

        var run = await cli.RunAsync("generate", "docs-lm", "-o", "json");

        Assert.Equal(["a\nb", ""], run.OutputLines.Select(line => (string?)JsonNode.Parse(line)?["text"]));
        Assert.Equal("piped prompt", platform.Script.Only<GenerateRequest>().Prompt);
    }

    [Fact]
    public async Task A_prompt_may_begin_with_an_at_sign()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.OnStream<GenerateRequest, GenerateResponse>(new GenerateResponse { FinishReason = "stop" });
        using var cli = new CommandLine(platform.Address);

        await cli.RunAsync("generate", "docs-lm", "@param name");

        Assert.Equal("@param name", platform.Script.Only<GenerateRequest>().Prompt);
    }

    [Fact]
    public async Task Says_when_to_come_back_to_a_full_queue()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.OnStream<GenerateRequest, GenerateResponse>((_, _, _) => throw Samples.Error(
            StatusCode.ResourceExhausted, "256 requests wait already.", "QUEUE_FULL",
            new Google.Rpc.RetryInfo { RetryDelay = Google.Protobuf.WellKnownTypes.Duration.FromTimeSpan(TimeSpan.FromSeconds(2.5)) }));
        using var cli = new CommandLine(platform.Address);

        var run = await cli.RunAsync("generate", "docs-lm", "x");

        Assert.Equal(1, run.Code);
        Assert.Equal(["error: 256 requests wait already. (QUEUE_FULL)", "Try again in 2.5 s."], run.ErrorLines);
    }

    [Fact]
    public async Task A_chat_remembers_what_was_said()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.OnStream<ChatRequest, ChatResponse>(async (request, writer, cancellation) =>
        {
            await writer.WriteAsync(new ChatResponse { Text = $"answer {request.Messages.Count}" }, cancellation);
            await writer.WriteAsync(new ChatResponse { FinishReason = "stop" }, cancellation);
        });
        using var cli = new CommandLine(platform.Address) { Input = "one\n\ntwo\n/exit\nthree\n" };

        var run = await cli.RunAsync("chat", "docs-lm", "--system", "Be brief.");

        Assert.Equal((0, "answer 2\nanswer 4\n"), (run.Code, run.Output));
        Assert.Equal(
            ["system: Be brief.", "user: one", "assistant: answer 2", "user: two"],
            ((ChatRequest)platform.Script.Calls.Last().Request).Messages.Select(message => $"{message.Role}: {message.Content}"));
    }

    [Fact]
    public async Task Compares_models_side_by_side_and_fails_if_one_gave_no_answer()
    {
        await using var platform = await ScriptedPlatform.StartAsync();
        platform.Script.On<CompareRequest, CompareResponse>(_ => new CompareResponse
        {
            Results =
            {
                new Comparison
                {
                    Model = "a", Text = "Gets it.", FinishReason = "stop", TokensPerSecond = 41.25, CostPerMillionTokens = 1.5,
                    TimeToFirstToken = Google.Protobuf.WellKnownTypes.Duration.FromTimeSpan(TimeSpan.FromMilliseconds(12)),
                    Usage = new Usage { CompletionTokens = 4, DeviceSeconds = 0.25 },
                },
                new Comparison { Model = "b", Error = "It is asleep." },
            },
        });
        using var cli = new CommandLine(platform.Address);

        var run = await cli.RunAsync("compare", "--models", "a, b", "--prompt", "P", "--price", "2.5", "--temperature", "0");

        Assert.Equal(1, run.Code);
        Assert.Contains("b gave no answer", run.Error, StringComparison.Ordinal);
        Assert.Matches(@"a +4 +12\.0 ms +41\.\d +250\.0 ms +1\.5000 +stop", run.Output);
        Assert.Contains("--- a\nGets it.\n\n--- b\nno answer: It is asleep.\n", run.Output, StringComparison.Ordinal);
        var request = platform.Script.Only<CompareRequest>();
        Assert.Equal(["a", "b"], request.Models);
        Assert.Equal(("P", 2.5, 0.0), (request.Prompt, request.PricePerDeviceHour, request.Sampling.Temperature));
    }
}
