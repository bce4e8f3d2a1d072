using System.Diagnostics;
using Grpc.Core;
using Platform.Hosting.Errors;
using Platform.Internal.V1;
using Platform.Serving.Core.Output;
using Platform.Serving.Engine;
using Usage = Platform.V1.Usage;

namespace Platform.Serving.Adapters;

/// <summary>The replica's gRPC face. Cancelling a call aborts its request within one iteration.</summary>
internal sealed class EngineGrpcService(ServedModels models) : EngineService.EngineServiceBase
{
    private static readonly TimeSpan QueueFullRetry = TimeSpan.FromSeconds(1);

    public override async Task Generate(
        EngineGenerateRequest request, IServerStreamWriter<EngineGenerateResponse> responseStream, ServerCallContext context)
    {
        var replica = models.Find(request.Model);
        using var activity = RequestActivity.Start(replica.Settings.Model, request);
        try
        {
            var generation = replica.Reader.Read(request);
            var active = await SubmitAsync(replica, generation);
            await using (context.CancellationToken.Register(active.Cancel))
                await StreamAsync(replica, active, responseStream, activity, context.CancellationToken);
        }
        catch (PlatformException exception)
        {
            activity?.SetTag("error.type", exception.Reason);
            activity?.SetStatus(ActivityStatusCode.Error, exception.Message);
            throw;
        }
    }

    public override Task<DescribeResponse> Describe(DescribeRequest request, ServerCallContext context)
    {
        var replica = models.Find(request.Model);
        var snapshot = replica.Engine.Snapshot;
        var description = new DescribeResponse
        {
            Model = replica.Settings.Model,
            ModelPath = replica.Settings.ModelDirectory,
            ContextLength = replica.Engine.Limits.LongestSequence,
            Running = snapshot.Running,
            Waiting = snapshot.Waiting,
            OutstandingTokens = snapshot.OutstandingTokens,
            KvBlocksTotal = snapshot.BlocksTotal,
            KvBlocksFree = snapshot.BlocksFree,
            Asleep = replica.Engine.IsAsleep,
            Models = { models.Replicas.Select(other => other.Settings.Model) },
        };
        description.Adapters.AddRange(replica.Settings.Adapters.Select(adapter => adapter.Name));
        return Task.FromResult(description);
    }

    public override async Task<LogitsResponse> Logits(LogitsRequest request, ServerCallContext context)
    {
        var replica = models.First;
        var generations = replica.Reader.ReadLogits(request);
        var submitted = new List<ActiveRequest>();
        try
        {
            foreach (var generation in generations)
                submitted.Add(await SubmitAsync(replica, generation));
            var response = new LogitsResponse();
            foreach (var active in submitted)
            {
                var update = await active.Updates.ReadAsync(context.CancellationToken);
                var row = new LogitRow();
                row.Values.AddRange(update.Logits ?? throw new UnavailableException("ENGINE_FAILED", "The engine gave no logits; see the replica's log."));
                response.Rows.Add(row);
            }

            return response;
        }
        finally
        {
            submitted.ForEach(active => active.Cancel());
        }
    }

    public override async Task<EngineEmbedResponse> Embed(EngineEmbedRequest request, ServerCallContext context)
    {
        var replica = models.Find(request.Model);
        var generations = replica.Reader.ReadEmbed(request);
        var submitted = new List<ActiveRequest>();
        try
        {
            foreach (var generation in generations)
                submitted.Add(await SubmitAsync(replica, generation));
            var response = new EngineEmbedResponse { Usage = new Usage() };
            foreach (var active in submitted)
            {
                var update = await active.Updates.ReadAsync(context.CancellationToken);
                var embedding = new V1.Embedding();
                embedding.Values.AddRange(update.Logits ?? throw new UnavailableException("ENGINE_FAILED", "The engine gave no embedding; see the replica's log."));
                response.Embeddings.Add(embedding);
                response.Usage.PromptTokens += active.Request.Prompt.Length;
            }

            return response;
        }
        finally
        {
            submitted.ForEach(active => active.Cancel());
        }
    }

    private static async Task<ActiveRequest> SubmitAsync(Replica replica, GenerationRequest generation) => await replica.Engine.SubmitAsync(generation) switch
    {
        Submission.Accepted accepted => accepted.Request,
        Submission.QueueFull full => throw new ResourceExhaustedException(
            "QUEUE_FULL", $"The replica's queue is full: {full.Live} sequences run or wait.", QueueFullRetry),
        Submission.NeverFits never => throw new InvalidRequestException("prompt_tokens", never.Message),
        Submission.Stopping => throw new UnavailableException("REPLICA_STOPPING", "The replica is stopping; another one can take the request."),
        _ => throw new InvalidOperationException("A submission has four outcomes."),
    };

    private static async Task StreamAsync(
        Replica replica, ActiveRequest active, IServerStreamWriter<EngineGenerateResponse> responses, Activity? activity, CancellationToken cancellationToken)
    {
        var open = active.Request.Choices;
        var usage = new Usage { PromptTokens = active.Request.Prompt.Length, CompletionTokens = active.Request.Produced.Length };
        var reasons = new string[open];
        await foreach (var update in active.Updates.ReadAllAsync(cancellationToken))
        {
            if (update.Finish == FinishReason.Cancelled && !cancellationToken.IsCancellationRequested)
                throw new UnavailableException("REPLICA_STOPPING", "The replica stopped before the request's end; another one can go on from here.");
            usage.CompletionTokens += update.TokenIds.Count;
            var response = new EngineGenerateResponse { Choice = update.Choice, FirstIndex = update.FirstIndex, Text = update.Text };
            response.TokenIds.AddRange(update.TokenIds);
            if (update.Logprobs is { } logprobs)
                response.Logprobs.Add(Convert(update.TokenIds[0], logprobs));
            if (update.Finish is { } finish)
            {
                response.FinishReason = reasons[update.Choice] = Name(finish);
                if (--open == 0)
                {
                    usage.CachedPromptTokens = active.CachedPromptTokens;
                    usage.DeviceSeconds = active.ComputeSeconds * replica.Settings.Devices;
                    response.Usage = usage;
                }
            }

            await responses.WriteAsync(response, cancellationToken);
        }

        RequestActivity.Finish(activity, usage, reasons);
    }

    private static TokenLogprobs Convert(int token, Core.Sampling.TokenLogprobs logprobs)
    {
        var converted = new TokenLogprobs { TokenId = token, Logprob = logprobs.Logprob };
        converted.TopIds.AddRange(logprobs.TopIds);
        converted.TopLogprobs.AddRange(logprobs.TopLogprobs);
        return converted;
    }

    private static string Name(FinishReason reason) => reason switch
    {
        FinishReason.Stop => "stop",
        FinishReason.Length => "length",
        FinishReason.Cancelled => "cancelled",
        FinishReason.Error => "error",
        _ => throw new ArgumentOutOfRangeException(nameof(reason)),
    };
}
