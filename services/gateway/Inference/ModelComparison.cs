using System.Diagnostics;
using System.Text;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Platform.Core.Validation;
using Platform.Hosting.Errors;
using Platform.V1;

namespace Platform.Gateway.Inference;

/// <summary>Gives one prompt to several models at once and puts their answers, times and costs side by side.</summary>
public sealed class ModelComparison(InferencePipeline pipeline, GatewayOptions options)
{
    private const int MostModels = 16;

    /// <summary>Asks every model; one that fails says why and does not keep the others from answering.</summary>
    /// <exception cref="InvalidRequestException">The request is wrong as a whole.</exception>
    public async Task<CompareResponse> RunAsync(CompareRequest request, string tenant, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(request);
        Check(request);
        double price = request.HasPricePerDeviceHour ? request.PricePerDeviceHour : options.DevicePricePerHour;
        var results = await Task.WhenAll(request.Models.Select(model => AskAsync(model, request, tenant, price, cancellation)));
        var response = new CompareResponse();
        response.Results.AddRange(results);
        return response;
    }

    private static void Check(CompareRequest request)
    {
        var violations = new List<Violation>();
        if (request.Models.Count is 0 or > MostModels)
            violations.Add(new Violation("models", $"Expected 1 to {MostModels} deployed models, found {request.Models.Count}."));
        foreach (var repeated in request.Models.GroupBy(model => model).Where(group => group.Count() > 1))
            violations.Add(new Violation("models", $"'{repeated.Key}' is named {repeated.Count()} times."));
        if ((request.Prompt.Length > 0) == (request.Messages.Count > 0))
            violations.Add(new Violation("prompt", "Expected either a prompt or messages."));
        if (request.Sampling is { HasN: true, N: not 1 })
            violations.Add(new Violation("sampling.n", $"A comparison takes one choice of each model, found {request.Sampling.N}."));
        if (request.HasPricePerDeviceHour && !(request.PricePerDeviceHour >= 0))
            violations.Add(new Violation("price_per_device_hour", $"Expected 0 or more, found {request.PricePerDeviceHour}."));
        if (violations.Count > 0)
            throw new InvalidRequestException(violations);
    }

    private async Task<Comparison> AskAsync(string name, CompareRequest request, string tenant, double price, CancellationToken cancellation)
    {
        try
        {
            return await AnswerAsync(name, request, tenant, price, cancellation);
        }
        catch (Exception e) when (e is PlatformException or RpcException && !cancellation.IsCancellationRequested)
        {
            return new Comparison { Model = name, Error = e is RpcException call ? call.Status.Detail : e.Message };
        }
    }

    private async Task<Comparison> AnswerAsync(string name, CompareRequest request, string tenant, double price, CancellationToken cancellation)
    {
        var model = pipeline.Find(name);
        var prompt = request.Messages.Count > 0 ? InferenceGrpcService.EncodeChat(model, request.Messages) : model.EncodePrompt(request.Prompt);
        var sampling = InferencePipeline.WithDefaults(request.Sampling, model, prompt.Count);
        var answer = new Comparison { Model = name, Usage = new Usage() };
        var text = new StringBuilder();
        long started = Stopwatch.GetTimestamp();
        TimeSpan? first = null;
        await foreach (var response in pipeline.GenerateAsync(model, prompt, sampling, tenant, cancellation))
        {
            if (response.TokenIds.Count > 0)
                first ??= Stopwatch.GetElapsedTime(started);
            text.Append(response.Text);
            answer.Usage = response.Usage ?? answer.Usage;
            if (response.FinishReason.Length > 0)
                answer.FinishReason = response.FinishReason;
        }
        answer.Text = text.ToString();
        int tokens = answer.Usage.CompletionTokens;
        if (first is { } toFirst)
        {
            answer.TimeToFirstToken = Duration.FromTimeSpan(toFirst);
            double decoding = (Stopwatch.GetElapsedTime(started) - toFirst).TotalSeconds;
            if (tokens > 1 && decoding > 0)
                answer.TokensPerSecond = (tokens - 1) / decoding;
        }
        if (price > 0 && tokens > 0)
            answer.CostPerMillionTokens = price * answer.Usage.DeviceSeconds / 3600 / tokens * 1e6;
        return answer;
    }
}
