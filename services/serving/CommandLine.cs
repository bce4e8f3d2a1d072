using System.Globalization;
using Platform.Core.Deployments;
using Platform.Core.Gangs;
using Platform.Core.Specs;
using Platform.Core.Validation;
using Platform.Hosting.Configuration;
using Platform.Hosting.Network;

namespace Platform.Serving;

/// <summary>What the command line asks for.</summary>
internal abstract record CommandLine
{
    /// <summary>Usage, for people.</summary>
    public const string Usage = """
        platform-serving --launch FILE
        platform-serving --model DIR [--listen 127.0.0.1:0] [--metrics-listen 127.0.0.1:0] [--ready-file FILE]
            [--name NAME] [--dtype bf16|fp32|int8] [--threads N] [--max-num-seqs N] [--max-num-batched-tokens N]
            [--kv-cache-bytes 256MiB] [--block-size 16] [--prefix-caching true|false] [--max-queued-requests N]
            [--speculative-tokens N] [--speculative-model DIR] [--lora-modules NAME=DIR,NAME=DIR...] [--max-lora-rank N]
            [--sleep-after SECONDS] [--more-models NAME=DIR,...] [--memory 4GiB]
        """;

    private static readonly HashSet<string> DirectKeys = new(StringComparer.OrdinalIgnoreCase)
    {
        "model", "listen", "metrics-listen", "ready-file", "name", "dtype", "threads", "max-num-seqs", "max-num-batched-tokens",
        "kv-cache-bytes", "block-size", "prefix-caching", "max-queued-requests", "speculative-tokens",
        "speculative-model", "lora-modules", "max-lora-rank", "sleep-after", "more-models", "memory",
    };

    private CommandLine()
    {
    }

    /// <summary>An agent started the process.</summary>
    /// <param name="Launch">What it says.</param>
    public sealed record Launched(RankLaunch Launch) : CommandLine;

    /// <summary>A person or a test started it.</summary>
    /// <param name="Settings">What to serve.</param>
    /// <param name="Listen">Where gRPC listens.</param>
    /// <param name="MetricsListen">Where HTTP listens.</param>
    public sealed record Direct(ReplicaSettings Settings, ListenAddress Listen, ListenAddress MetricsListen) : CommandLine;

    /// <summary>Reads the command line.</summary>
    /// <exception cref="InvalidConfigurationException">Something is wrong with it; all of it is reported.</exception>
    public static CommandLine Read(string[] args)
    {
        var values = new ConfigurationBuilder().AddCommandLine(args).Build();
        if (values["launch"] is { } launchFile)
            return new Launched(ReadLaunch(launchFile));
        var violations = values.AsEnumerable()
            .Where(pair => !pair.Key.Contains(':', StringComparison.Ordinal) && pair.Value is not null && !DirectKeys.Contains(pair.Key))
            .Select(pair => new Violation($"--{pair.Key}", "There is no such option.")).ToList();
        if (values["model"] is not { Length: > 0 } model)
        {
            violations.Add(new("--model", $"The option is missing.\n{Usage}"));
            model = ".";
        }

        var draft = values["speculative-model"] is { } text ? Path.GetFullPath(text) : null;
        var adapters = Adapters();
        var defaults = new EngineOptions();
        var engine = defaults with
        {
            MaxNumSeqs = Number("max-num-seqs", defaults.MaxNumSeqs),
            MaxNumBatchedTokens = Number("max-num-batched-tokens", defaults.MaxNumBatchedTokens),
            BlockSize = Number("block-size", defaults.BlockSize),
            EnablePrefixCaching = !string.Equals(values["prefix-caching"], "false", StringComparison.OrdinalIgnoreCase),
            KvCacheBytes = Bytes("kv-cache-bytes", defaults.KvCacheBytes),
            Dtype = values["dtype"] ?? defaults.Dtype,
            Speculative = values["speculative-tokens"] is null && draft is null
                ? null
                : new SpeculativeOptions { Model = draft, NumSpeculativeTokens = Number("speculative-tokens", 4) },
            Lora = new LoraOptions { MaxLoras = Math.Max(1, adapters.Count), MaxLoraRank = Number("max-lora-rank", new LoraOptions().MaxLoraRank) },
        };
        var directory = Path.GetFullPath(model);
        var settings = new ReplicaSettings(
            values["name"] ?? Path.GetFileName(directory), directory, engine, Number("max-queued-requests", new DeploymentOptions().MaxQueuedRequests),
            Number("threads", Environment.ProcessorCount))
        {
            Adapters = adapters,
            DraftDirectory = draft,
            SleepAfter = values["sleep-after"] is null ? null : Seconds("sleep-after"),
            MemoryBytes = values["memory"] is null ? null : Bytes("memory", 0),
        };
        settings = settings with { Others = [.. Others(settings)] };
        var direct = new Direct(settings, Address("listen"), Address("metrics-listen"));
        return violations.Count == 0 ? direct : throw new InvalidConfigurationException(violations);

        List<AdapterSource> Adapters()
        {
            var read = new List<AdapterSource>();
            foreach (var item in (values["lora-modules"] ?? "").Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
            {
                if (item.Split('=', 2) is [{ Length: > 0 } name, { Length: > 0 } path])
                    read.Add(new(name, Path.GetFullPath(path)));
                else
                    violations.Add(new("--lora-modules", $"Found '{item}'; name=directory is expected."));
            }

            return read;
        }

        int Number(string key, int fallback)
        {
            if (values[key] is not { } text)
                return fallback;
            if (int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number > 0)
                return number;
            violations.Add(new($"--{key}", $"Found '{text}'; a positive whole number is expected."));
            return fallback;
        }

        TimeSpan? Seconds(string key)
        {
            if (double.TryParse(values[key], NumberStyles.Float, CultureInfo.InvariantCulture, out var seconds) && seconds is > 0 and <= 86_400)
                return TimeSpan.FromSeconds(seconds);
            violations.Add(new($"--{key}", $"Found '{values[key]}'; seconds above 0 and up to 86400 are expected."));
            return null;
        }

        IEnumerable<ReplicaSettings> Others(ReplicaSettings first)
        {
            var names = new HashSet<string> { first.Model };
            foreach (var entry in (values["more-models"] ?? "").Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
            {
                var parts = entry.Split('=', 2);
                if (parts.Length == 2 && parts[1].Length > 0 && names.Add(parts[0]))
                    yield return first with { Model = parts[0], ModelDirectory = Path.GetFullPath(parts[1]), Adapters = [], DraftDirectory = null };
                else
                    violations.Add(new("--more-models", $"Found '{entry}'; NAME=DIR is expected, each name once."));
            }
        }

        long Bytes(string key, long fallback)
        {
            if (values[key] is not { } text)
                return fallback;
            if (ByteSize.TryParse(text, out var bytes))
                return bytes;
            violations.Add(new($"--{key}", $"Found '{text}'; a size such as 256MiB is expected."));
            return fallback;
        }

        ListenAddress Address(string key)
        {
            if (values[key] is not { } text)
                return ListenAddress.Loopback;
            if (ListenAddress.TryParse(text, out var address))
                return address;
            violations.Add(new($"--{key}", $"Found '{text}'; host:port is expected, such as 127.0.0.1:0."));
            return ListenAddress.Loopback;
        }
    }

    private static RankLaunch ReadLaunch(string path)
    {
        try
        {
            return GangJson.Read<RankLaunch>(File.ReadAllText(path));
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or System.Text.Json.JsonException)
        {
            throw new InvalidConfigurationException([new Violation("--launch", $"{path} cannot be read: {exception.Message}")]);
        }
    }
}
