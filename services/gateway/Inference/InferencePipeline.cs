using System.Diagnostics;
using System.Runtime.CompilerServices;
using Grpc.Core;
using Platform.Core.Validation;
using Platform.Hosting.Errors;
using Platform.Internal.V1;
using Platform.V1;

namespace Platform.Gateway.Inference;

/// <summary>
/// Sends a tokenized request to a replica and streams what comes back. A replica that dies mid-stream is replaced by
/// another one, which continues from the tokens already produced, without a gap and without repeating any.
/// </summary>
public sealed class InferencePipeline(RoutingTable table, ReplicaPool replicas, LoadBoard board, DeploymentWaker waker, GatewayOptions options)
{
    private const int DefaultMaxTokens = 256;
    private const int MostAttempts = 4;

    /// <summary>Finds and opens the model of a request.</summary>
    /// <exception cref="NotFoundException">It is not deployed.</exception>
    public ServedModel Find(string? model)
    {
        if (string.IsNullOrEmpty(model))
            throw new InvalidRequestException([new Violation("model", "Expected the name of a deployed model, found nothing.")]);
        return table.OpenNamed(model);
    }

    /// <summary>Fills in the deployment's defaults where the request says nothing.</summary>
    public static SamplingParams WithDefaults(SamplingParams? asked, ServedModel model, int promptTokens)
    {
        var sampling = asked?.Clone() ?? new SamplingParams();
        var defaults = model.Route.Generation ?? new GenerationDefaults();
        if (!sampling.HasTemperature && defaults.HasTemperature)
            sampling.Temperature = defaults.Temperature;
        if (!sampling.HasTopP && defaults.HasTopP)
            sampling.TopP = defaults.TopP;
        if (!sampling.HasTopK && defaults.HasTopK)
            sampling.TopK = defaults.TopK;
        if (!sampling.HasMaxTokens)
        {
            int room = model.Route.ContextLength - promptTokens;
            sampling.MaxTokens = Math.Max(1, Math.Min(defaults.HasMaxTokens ? defaults.MaxTokens : DefaultMaxTokens, room));
        }
        sampling.Stop.AddRange(defaults.Stop);
        return sampling;
    }

    /// <summary>Streams the choices of one prompt.</summary>
    /// <param name="model">From <see cref="Find"/>.</param>
    /// <param name="prompt">Prompt tokens, at least one.</param>
    /// <param name="sampling">With defaults filled in.</param>
    /// <param name="tenant">Who asks.</param>
    /// <param name="cancellation">Aborts the request at the replica within one iteration.</param>
    public async IAsyncEnumerable<EngineGenerateResponse> GenerateAsync(
        ServedModel model,
        IReadOnlyList<int> prompt,
        SamplingParams sampling,
        string tenant,
        [EnumeratorCancellation] CancellationToken cancellation)
    {
        if (prompt.Count == 0)
            throw new InvalidRequestException([new Violation("prompt", "Expected at least one token, found an empty prompt.")]);
        var request = new EngineGenerateRequest
        {
            RequestId = Guid.NewGuid().ToString("N"),
            Model = model.Route.DeploymentId,
            Adapter = model.Adapter,
            Sampling = sampling,
            Tenant = tenant,
        };
        request.PromptTokens.AddRange(prompt);
        // A stream can move to another replica only when one choice was asked for: produced tokens are one list.
        bool canMove = !sampling.HasN || sampling.N == 1;
        long cost = prompt.Count + ((long)sampling.MaxTokens * (sampling.HasN ? sampling.N : 1));
        using var entry = board.Begin(model.Route, cost);
        var tried = new HashSet<string>();
        long started = Stopwatch.GetTimestamp();
        bool first = true;
        for (int attempt = 1; ; attempt++)
        {
            var endpoints = await EndpointsAsync(model.Route, tried, cancellation);
            using var lease = replicas.Rent(endpoints, prompt, cost);
            using var call = lease.Client.Generate(request, cancellationToken: cancellation);
            bool ended = false;
            RpcException? failure = null;
            while (true)
            {
                EngineGenerateResponse response;
                try
                {
                    if (!await call.ResponseStream.MoveNext(cancellation))
                        break;
                    response = call.ResponseStream.Current;
                }
                catch (RpcException e) when (!cancellation.IsCancellationRequested)
                {
                    failure = e;
                    break;
                }
                lease.Received(response.TokenIds.Count);
                entry.Received(response.TokenIds.Count);
                if (first && response.TokenIds.Count > 0)
                {
                    GatewayMetrics.TimeToFirstToken(model.Route.DeploymentId, Stopwatch.GetElapsedTime(started));
                    first = false;
                }
                if (canMove)
                    request.ProducedTokens.AddRange(response.TokenIds);
                ended = response.Usage is not null;
                yield return response;
            }
            cancellation.ThrowIfCancellationRequested();
            if (failure is null && ended)
                yield break;
            tried.Add(lease.Endpoint);
            bool nothingSent = request.ProducedTokens.Count == 0;
            bool retry = failure?.StatusCode switch
            {
                null => canMove,
                StatusCode.Unavailable => canMove || nothingSent,
                StatusCode.ResourceExhausted => nothingSent && endpoints.Count > 1,
                _ => false,
            };
            if (!retry || attempt >= MostAttempts)
            {
                throw failure ?? new RpcException(
                    new Status(StatusCode.Unavailable, $"The replica {lease.Endpoint} ended the stream before its last message."));
            }
        }
    }

    /// <summary>Embeddings of inputs, one each.</summary>
    /// <param name="model">From <see cref="Find"/>.</param>
    /// <param name="inputs">Tokens of the inputs.</param>
    /// <param name="pooling"><c>mean</c>, <c>last</c> or empty.</param>
    /// <param name="tenant">Who asks.</param>
    /// <param name="cancellation">Aborts the request at the replica.</param>
    public async Task<EngineEmbedResponse> EmbedAsync(
        ServedModel model, IReadOnlyList<IReadOnlyList<int>> inputs, string pooling, string tenant, CancellationToken cancellation)
    {
        if (inputs.Count == 0)
            throw new InvalidRequestException([new Violation("input", "Expected at least one input, found none.")]);
        var request = new EngineEmbedRequest { Model = model.Route.DeploymentId, Adapter = model.Adapter, Pooling = pooling, Tenant = tenant };
        foreach (var input in inputs)
            request.Inputs.Add(new Prompt { TokenIds = { input } });
        var tried = new HashSet<string>();
        while (true)
        {
            var endpoints = await EndpointsAsync(model.Route, tried, cancellation);
            using var lease = replicas.Rent(endpoints, inputs[0], inputs.Sum(input => (long)input.Count));
            try
            {
                return await lease.Client.EmbedAsync(request, cancellationToken: cancellation);
            }
            catch (RpcException e) when (e.StatusCode == StatusCode.Unavailable && tried.Count + 1 < MostAttempts && !cancellation.IsCancellationRequested)
            {
                tried.Add(lease.Endpoint);
            }
        }
    }

    // Endpoints not tried yet; all of them when every one was; waits, and wakes the deployment, while there is none.
    private async Task<IReadOnlyList<string>> EndpointsAsync(
        DeploymentRoute route, HashSet<string> tried, CancellationToken cancellation)
    {
        var found = Current(route, tried);
        if (found.Count > 0)
            return found;
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        deadline.CancelAfter(TimeSpan.FromSeconds(options.WakeTimeoutSeconds));
        try
        {
            await waker.WakeAsync(route, deadline.Token);
            while (true)
            {
                var changed = table.Changed;
                found = Current(route, tried);
                if (found.Count > 0)
                    return found;
                await changed.WaitAsync(deadline.Token);
            }
        }
        catch (Exception e) when (e is OperationCanceledException or RpcException && !cancellation.IsCancellationRequested)
        {
            throw new UnavailableException(
                "NO_READY_REPLICA",
                $"The model '{route.DeploymentId}' has no ready replica after {options.WakeTimeoutSeconds} s; "
                + $"`platform deployments get {route.DeploymentId}` says why.",
                e);
        }
    }

    private List<string> Current(DeploymentRoute route, HashSet<string> tried)
    {
        // A deployment that was deleted meanwhile gets the same answer as one that never was.
        var all = table.Find(route.DeploymentId).Endpoints;
        var fresh = all.Where(endpoint => !tried.Contains(endpoint)).ToList();
        if (fresh.Count == 0 && all.Count > 0 && tried.Count > 0)
        {
            tried.Clear();
            return [.. all];
        }
        return fresh;
    }
}
