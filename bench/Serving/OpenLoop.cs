using System.Globalization;
using System.Net.Http.Json;
using System.Text.Json;

namespace Platform.Benchmarks.Serving;

/// <summary>
/// Open-loop load on an OpenAI-compatible endpoint: requests arrive at random (a Poisson process), whether earlier ones have
/// ended or not. TTFT is the time to the first chunk with text; TPOT is <c>(end − first token) / (tokens − 1)</c>; ITL are the
/// gaps between chunks; goodput counts the requests within both limits.
/// </summary>
internal static class OpenLoop
{
    private sealed record Outcome(double FirstToken, double End, IReadOnlyList<double> Gaps, int Tokens)
    {
        public double? PerToken => Tokens > 1 ? (End - FirstToken) / (Tokens - 1) : null;
    }

    public static async Task<int> RunAsync(string url, BenchArguments options)
    {
        if (options.Value("model") is not { } model)
        {
            Console.Error.WriteLine("--model is missing: the deployment that answers.");
            return 2;
        }

        var (requests, rate, tokens) = (options.Number("requests", 64), options.Real("request-rate", 4), options.Number("max-tokens", 64));
        var limits = Limits(options.Value("goodput") ?? "ttft:2,tpot:0.1");
        using var http = new HttpClient { BaseAddress = new Uri(url), Timeout = TimeSpan.FromMinutes(30) };
        if (options.Value("api-key") is { } key)
            http.DefaultRequestHeaders.Authorization = new("Bearer", key);
        var random = new Random(options.Number("seed", 1));
        var sent = new List<Task<Outcome?>>();
        var started = EngineUnderTest.Now;
        for (var i = 0; i < requests; i++)
        {
            sent.Add(SendAsync(http, model, Words(random, options.Number("prompt-words", 64)), tokens));
            await Task.Delay(TimeSpan.FromSeconds(-Math.Log(1 - random.NextDouble()) / rate));
        }

        var outcomes = await Task.WhenAll(sent);
        var seconds = EngineUnderTest.Now - started;
        var done = outcomes.OfType<Outcome>().ToList();
        var report = new BenchReport(null);
        Percentiles(report, "ttft", "time to first token", done.Select(outcome => outcome.FirstToken));
        Percentiles(report, "tpot", "time per output token", done.Select(outcome => outcome.PerToken).OfType<double>());
        Percentiles(report, "itl", "inter-token latency", done.SelectMany(outcome => outcome.Gaps));
        var good = done.Count(outcome => outcome.FirstToken <= limits.FirstToken && (outcome.PerToken ?? 0) <= limits.PerToken);
        report.Figure("requests_failed", requests - done.Count);
        report.Figure("requests_per_second", done.Count / seconds);
        report.Figure("output_tokens_per_second", done.Sum(outcome => outcome.Tokens) / seconds);
        report.Figure("goodput_requests_per_second", good / seconds);
        report.Write(Console.Out);
        return done.Count == requests ? 0 : 1;
    }

    private static async Task<Outcome?> SendAsync(HttpClient http, string model, string prompt, int tokens)
    {
        var started = EngineUnderTest.Now;
        try
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/completions")
            {
                Content = JsonContent.Create(new { model, prompt, max_tokens = tokens, stream = true, stream_options = new { include_usage = true } }),
            };
            using var response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
            response.EnsureSuccessStatusCode();
            using var reader = new StreamReader(await response.Content.ReadAsStreamAsync());
            var times = new List<double>();
            var counted = 0;
            while (await reader.ReadLineAsync() is { } line)
            {
                if (!line.StartsWith("data: ", StringComparison.Ordinal) || line == "data: [DONE]")
                    continue;
                using var chunk = JsonDocument.Parse(line["data: ".Length..]);
                if (chunk.RootElement.TryGetProperty("usage", out var usage) && usage.ValueKind == JsonValueKind.Object)
                    counted = usage.GetProperty("completion_tokens").GetInt32();
                if (chunk.RootElement.GetProperty("choices").GetArrayLength() > 0)
                    times.Add(EngineUnderTest.Now);
            }

            return times.Count == 0
                ? null
                : new Outcome(times[0] - started, times[^1] - started, [.. times.Zip(times.Skip(1), (a, b) => b - a)], Math.Max(counted, times.Count));
        }
        catch (HttpRequestException exception)
        {
            Console.Error.WriteLine(exception.Message);
            return null;
        }
    }

    private static string Words(Random random, int count) =>
        string.Join(' ', Enumerable.Range(0, count).Select(_ => new string([.. Enumerable.Range(0, 2 + random.Next(6)).Select(_ => (char)('a' + random.Next(26)))])));

    private static (double FirstToken, double PerToken) Limits(string text)
    {
        var parts = text.Split(',').Select(part => part.Split(':')).ToDictionary(part => part[0], part => double.Parse(part[1], CultureInfo.InvariantCulture));
        return (parts.GetValueOrDefault("ttft", 2), parts.GetValueOrDefault("tpot", 0.1));
    }

    private static void Percentiles(BenchReport report, string name, string what, IEnumerable<double> values)
    {
        var ordered = values.Order().ToArray();
        if (ordered.Length == 0)
            return;
        foreach (var percent in new[] { 50, 90, 99 })
        {
            var value = ordered[Math.Min(ordered.Length - 1, ordered.Length * percent / 100)];
            report.Row($"{what}, p{percent}, ms", (value * 1000).ToString("0.0", CultureInfo.InvariantCulture));
            report.Figure($"{name}_p{percent}_seconds", value);
        }
    }
}
