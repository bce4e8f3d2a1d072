using System.CommandLine;
using Platform.V1;

namespace Platform.Cli.Commands;

/// <summary>How tokens are chosen.</summary>
internal sealed class SamplingOptions
{
    private readonly Option<int?> _maxTokens = new("--max-tokens") { Description = "Most tokens to generate.", HelpName = "N" };
    private readonly Option<double?> _temperature = new("--temperature") { Description = "Randomness; 0 always takes the likeliest token.", HelpName = "T" };
    private readonly Option<double?> _topP = new("--top-p") { Description = "Only the likeliest tokens that together have this probability.", HelpName = "P" };
    private readonly Option<int?> _topK = new("--top-k") { Description = "Only this many of the likeliest tokens.", HelpName = "K" };
    private readonly Option<long?> _seed = new("--seed") { Description = "The same seed gives the same text.", HelpName = "S" };
    private readonly Option<string[]> _stop = new("--stop") { Description = "End before this text; may be given several times.", HelpName = "TEXT" };

    /// <summary>Adds them to a command.</summary>
    public void AddTo(Command command)
    {
        command.Add(_maxTokens);
        command.Add(_temperature);
        command.Add(_topP);
        command.Add(_topK);
        command.Add(_seed);
        command.Add(_stop);
    }

    /// <summary>What was given; the rest is the deployment's choice.</summary>
    public SamplingParams Read(ParseResult parse)
    {
        var sampling = new SamplingParams();
        if (parse.GetValue(_maxTokens) is { } maxTokens)
            sampling.MaxTokens = maxTokens;
        if (parse.GetValue(_temperature) is { } temperature)
            sampling.Temperature = temperature;
        if (parse.GetValue(_topP) is { } topP)
            sampling.TopP = topP;
        if (parse.GetValue(_topK) is { } topK)
            sampling.TopK = topK;
        if (parse.GetValue(_seed) is { } seed)
            sampling.Seed = seed;
        sampling.Stop.AddRange(parse.GetValue(_stop) ?? []);
        return sampling;
    }
}
