using System.CommandLine;
using System.Globalization;

namespace Platform.Cli.Commands;

/// <summary><c>platform bench serve</c>: the serving engine on this machine, or a load on an endpoint that runs somewhere.</summary>
internal static class BenchServeCommand
{
    public static Command Create(CommandRunner runner)
    {
        var quick = new Option<bool>("--quick") { Description = "A small model and few repetitions, to see that it works." };
        var only = Text("--only", "NAMES", "Some of decode_1_stream, decode_16_streams, prefill, continuous_vs_static, stall_over_median_itl, prefix_hit_ttft, kv_waste, ready, wake.");
        var dtype = new Option<string>("--dtype") { Description = "bf16, fp32 or int8.", HelpName = "DTYPE", DefaultValueFactory = _ => "bf16" };
        dtype.AcceptOnlyFromAmong("bf16", "fp32", "int8");
        var repetitions = new Option<int?>("--repetitions") { Description = "Measured runs of each kind; the medians count.", HelpName = "N" };
        var url = Text("--url", "URL", "Measure this OpenAI-compatible endpoint instead.");
        var model = Text("--model", "NAME", "The deployment that answers there.");
        var rate = new Option<double?>("--request-rate") { Description = "Requests per second; they arrive at random.", HelpName = "RATE" };
        var requests = new Option<int?>("--requests") { Description = "Requests in all.", HelpName = "N" };
        var maxTokens = new Option<int?>("--max-tokens") { Description = "Tokens of each answer.", HelpName = "N" };
        var promptWords = new Option<int?>("--prompt-words") { Description = "Words of each prompt.", HelpName = "N" };
        var goodput = Text("--goodput", "LIMITS", "What counts as good, such as ttft:2,tpot:0.1 (seconds).");
        var command = new ExampledCommand(
            "serve",
            "Serving beside llama.cpp and beside itself; with --url, an open-loop load with its latencies and goodput.",
            "platform bench serve --quick",
            "platform bench serve --url http://localhost:8080 --model api-docs-lm --request-rate 8 --requests 100")
        {
            quick, only, dtype, repetitions, url, model, rate, requests, maxTokens, promptWords, goodput,
        };
        runner.HandleLocally(command, (parse, _) =>
        {
            List<string> arguments = ["serve", "--dtype", parse.GetValue(dtype) ?? "bf16"];
            if (parse.GetValue(quick))
                arguments.Add("--quick");
            foreach (var option in new[] { only, url, model, goodput })
                Add(option.Name, parse.GetValue(option));
            foreach (var option in new[] { repetitions, requests, maxTokens, promptWords })
                Add(option.Name, parse.GetValue(option)?.ToString(CultureInfo.InvariantCulture));
            Add(rate.Name, parse.GetValue(rate)?.ToString(CultureInfo.InvariantCulture));
            if (parse.GetValue(url) is not null && runner.Options.ApiKey(parse, runner.Terminal) is { } key)
                Add("--api-key", key);
            return BenchCommand.Become(runner, arguments);

            void Add(string name, string? value)
            {
                if (value is not null)
                    arguments.AddRange([name, value]);
            }
        });
        return command;

        static Option<string?> Text(string name, string placeholder, string description) => new(name) { Description = description, HelpName = placeholder };
    }
}
