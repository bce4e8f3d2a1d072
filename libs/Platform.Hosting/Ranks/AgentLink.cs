using System.Diagnostics;
using Grpc.Core;
using Grpc.Net.Client;
using Platform.Core.Gangs;
using Platform.Hosting.Network;
using Platform.Internal.V1;

namespace Platform.Hosting.Ranks;

/// <summary>
/// A rank's or replica's side of <c>RankService</c>, over the Unix socket of the agent that started it. Progress is
/// handed over without waiting and sent in order by a loop of the link's own; no step point is lost while the agent
/// lives. When the agent is gone for good the process dies with it.
/// </summary>
public sealed class AgentLink : IAsyncDisposable
{
    private static readonly TimeSpan CallTimeout = TimeSpan.FromSeconds(10);

    private readonly TaskCompletionSource _watched = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly RankLaunch _launch;
    private readonly AgentLinkOptions _options;
    private readonly GrpcChannel _channel;
    private readonly RankService.RankServiceClient _client;
    private readonly CancellationTokenSource _closing = new();
    private readonly CancellationTokenSource _stop = new();
    private readonly ReportBuffer _buffer;
    private readonly AgentPresence _presence;
    private readonly SemaphoreSlim _sending = new(1, 1);
    private Task _loops = Task.CompletedTask;
    private StopRequest? _stopRequest;

    private AgentLink(RankLaunch launch, AgentLinkOptions options)
    {
        _launch = launch;
        _options = options;
        _channel = GrpcChannels.Connect($"unix:{launch.AgentSocket}");
        _client = new RankService.RankServiceClient(_channel);
        _buffer = new ReportBuffer(launch);
        _presence = new AgentPresence(options);
    }

    /// <summary>Cancelled when the process must stop; <see cref="Stop"/> then says why and how.</summary>
    public CancellationToken StopRequested => _stop.Token;

    /// <summary>How to stop; null until <see cref="StopRequested"/>.</summary>
    public StopRequest? Stop => Volatile.Read(ref _stopRequest);

    /// <summary>
    /// Asked for before each report what the rank's collectives are doing, so that the agent sees a stuck rank. Called
    /// from another thread than the rank's own; must not block.
    /// </summary>
    public Func<IReadOnlyList<CollectiveStatus>>? Collectives { get; set; }

    /// <summary>Says hello and starts reporting and listening.</summary>
    /// <param name="launch">What the process was told.</param>
    /// <param name="options">Intervals and graces.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="StaleAttemptException">The attempt is over.</exception>
    /// <exception cref="RpcException">The agent does not answer.</exception>
    public static async Task<AgentLink> ConnectAsync(RankLaunch launch, AgentLinkOptions options, CancellationToken cancellationToken)
    {
        var link = new AgentLink(launch, options);
        try
        {
            var hello = new HelloRequest
            {
                Gang = launch.Gang,
                Attempt = launch.Attempt,
                Rank = launch.Rank,
                Token = launch.Token,
                ProcessId = Environment.ProcessId,
            };
            await link.RetryAsync(
                deadline => link._client.HelloAsync(hello, deadline: deadline, cancellationToken: cancellationToken).ResponseAsync,
                options.HelloTimeout, cancellationToken);
            link._loops = Task.WhenAll(link.ReportLoopAsync(), link.WatchLoopAsync());
            link._presence.Start(link._closing.Token);
            // From here on a stop comes as a command; a process that is not heard yet would get a signal.
            await link._watched.Task.WaitAsync(options.HelloTimeout, cancellationToken)
                .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            cancellationToken.ThrowIfCancellationRequested();
            return link;
        }
        catch
        {
            await link.DisposeAsync();
            throw;
        }
    }

    /// <summary>Says what the process is doing.</summary>
    /// <param name="phase">preparing, tokenizing, training, saving, exporting, serving.</param>
    /// <param name="fraction">Share of the phase that is done, [0, 1]; null when it cannot be told.</param>
    public void Progress(string phase, double? fraction) => _buffer.SetPhase(phase, fraction);

    /// <summary>Adds a step to the next report.</summary>
    public void Point(StepMetrics point) => _buffer.AddPoint(point);

    /// <summary>Says where the replica's engine listens; it is ready.</summary>
    /// <param name="endpoint">gRPC address.</param>
    public void ReplicaReady(string endpoint) => _buffer.SetReplicaEndpoint(endpoint);

    /// <summary>Says where Prometheus scrapes this process.</summary>
    /// <param name="endpoint"><c>http://host:port/metrics</c>.</param>
    public void MetricsAt(string endpoint) => _buffer.SetMetricsEndpoint(endpoint);

    /// <summary>Says why the process is about to fail, with all progress so far, and waits until the agent has it.</summary>
    /// <param name="code">Kind of failure.</param>
    /// <param name="message">What happened, as a sentence.</param>
    /// <param name="permanent">Trying again cannot help.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public Task FailAsync(FailureCode code, string message, bool permanent, CancellationToken cancellationToken) =>
        FailAsync(new GangFailure { Code = code, Message = message, IsPermanent = permanent }, cancellationToken);

    /// <summary>Says why the process is about to fail, with all progress so far, and waits until the agent has it.</summary>
    /// <param name="failure">Why; rank, node and log are the agent's to add.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public Task FailAsync(GangFailure failure, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(failure);
        _buffer.SetFailure(FailureReasons.ToReason(failure.Code), failure.Message, failure.IsPermanent, failure.Checkpoint ?? "");
        return FlushAsync(cancellationToken);
    }

    /// <summary>Waits until the agent has everything that was reported.</summary>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task FlushAsync(CancellationToken cancellationToken)
    {
        do
        {
            await RetryAsync(async deadline => { await SendReportAsync(deadline, cancellationToken); return true; }, _options.CommitTimeout, cancellationToken);
        }
        while (_buffer.HasNews);
    }

    /// <summary>Makes a checkpoint exist; repeated until the scheduler has answered.</summary>
    /// <param name="saved">The checkpoint, whole on disk.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>What may be deleted now, and what may not.</returns>
    /// <exception cref="StaleAttemptException">The attempt is over; the checkpoint does not exist.</exception>
    public async Task<CheckpointCommit> CommitCheckpointAsync(SavedCheckpoint saved, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(saved);
        var request = new RankCommitCheckpointRequest
        {
            Gang = _launch.Gang,
            Attempt = _launch.Attempt,
            Token = _launch.Token,
            Step = saved.Step,
            Directory = saved.Directory,
            ManifestSha256 = saved.ManifestSha256,
            Times = new CheckpointTimes
            {
                PauseSeconds = saved.Cost.PauseSeconds,
                WriteSeconds = saved.Cost.WriteSeconds,
                SizeBytes = saved.Cost.SizeBytes,
            },
        };
        RankCommitCheckpointResponse response = await RetryAsync(
            deadline => _client.CommitCheckpointAsync(request, deadline: deadline, cancellationToken: cancellationToken).ResponseAsync,
            _options.CommitTimeout, cancellationToken);
        return new CheckpointCommit(response.ExpiredDirectories, response.KeptDirectories);
    }

    /// <summary>Registers the finished model; repeated until the scheduler has answered.</summary>
    /// <param name="modelId">Name to register it under.</param>
    /// <param name="directory">Hugging Face directory, relative to the artifact root.</param>
    /// <param name="finalLoss">Loss of the last step.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>Resource name of the model.</returns>
    /// <exception cref="StaleAttemptException">The attempt is over; nothing was registered.</exception>
    public async Task<string> RegisterModelAsync(string modelId, string directory, double finalLoss, CancellationToken cancellationToken)
    {
        var request = new RankRegisterModelRequest
        {
            Gang = _launch.Gang,
            Attempt = _launch.Attempt,
            Token = _launch.Token,
            ModelId = modelId,
            Directory = directory,
            FinalLoss = finalLoss,
        };
        RankRegisterModelResponse response = await RetryAsync(
            deadline => _client.RegisterModelAsync(request, deadline: deadline, cancellationToken: cancellationToken).ResponseAsync,
            _options.CommitTimeout, cancellationToken);
        return response.Model;
    }

    /// <summary>Stops the loops; what has not been sent is dropped, so <see cref="FlushAsync"/> first.</summary>
    public async ValueTask DisposeAsync()
    {
        await _closing.CancelAsync();
        await _loops;
        _channel.Dispose();
        _closing.Dispose();
        _stop.Dispose();
        _sending.Dispose();
    }

    internal static void KillThisProcess(string reason)
    {
        Console.Error.WriteLine(reason);
        Console.Error.Flush();
        // Not Environment.Exit: native code or a finaliser that hangs must not keep the process alive.
        using var self = Process.GetCurrentProcess();
        self.Kill();
    }

    private async Task ReportLoopAsync()
    {
        CancellationToken closing = _closing.Token;
        while (!closing.IsCancellationRequested)
        {
            try
            {
                await SendReportAsync(DateTime.UtcNow + CallTimeout, closing);
            }
            catch (RpcException exception) when (IsStale(exception))
            {
                _watched.TrySetResult();
                RequestStop(new StopRequest(exception.Status.Detail, TimeSpan.Zero, Checkpoint: false));
            }
            catch (Exception exception) when (exception is RpcException or OperationCanceledException)
            {
                // The watch loop and the presence decide whether the agent is gone.
            }

            await Task.Delay(_options.ReportInterval, closing).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private async Task WatchLoopAsync()
    {
        var request = new WatchCommandsRequest
        {
            Gang = _launch.Gang,
            Attempt = _launch.Attempt,
            Rank = _launch.Rank,
            Token = _launch.Token,
        };
        CancellationToken closing = _closing.Token;
        while (!closing.IsCancellationRequested)
        {
            try
            {
                using AsyncServerStreamingCall<WatchCommandsResponse> call = _client.WatchCommands(request, cancellationToken: closing);
                await call.ResponseHeadersAsync;
                _watched.TrySetResult();
                await foreach (WatchCommandsResponse command in call.ResponseStream.ReadAllAsync(closing))
                {
                    RequestStop(new StopRequest(command.StopReason, TimeSpan.FromSeconds(command.GraceSeconds), command.Checkpoint));
                }
            }
            catch (RpcException exception) when (IsStale(exception))
            {
                _watched.TrySetResult();
                RequestStop(new StopRequest(exception.Status.Detail, TimeSpan.Zero, Checkpoint: false));
            }
            catch (Exception exception) when (exception is RpcException or OperationCanceledException)
            {
                // Reconnected below; the presence counts the time.
            }

            await Task.Delay(200, closing).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private async Task SendReportAsync(DateTime deadline, CancellationToken cancellationToken)
    {
        await _sending.WaitAsync(cancellationToken);
        try
        {
            ReportRequest report = _buffer.Take(Collectives?.Invoke() ?? []);
            ReportResponse response = await _client.ReportAsync(report, deadline: deadline, cancellationToken: cancellationToken);
            _buffer.Acknowledge();
            _presence.Seen();
            if (response.Stop)
            {
                RequestStop(new StopRequest("The agent answered a report with stop.", TimeSpan.Zero, Checkpoint: false));
            }
        }
        finally
        {
            _sending.Release();
        }
    }

    private void RequestStop(StopRequest request)
    {
        if (Interlocked.CompareExchange(ref _stopRequest, request, null) is null)
        {
            _stop.Cancel();
        }
    }

    private async Task<T> RetryAsync<T>(Func<DateTime, Task<T>> call, TimeSpan timeout, CancellationToken cancellationToken)
    {
        long start = Stopwatch.GetTimestamp();
        for (int attempt = 0; ; attempt++)
        {
            try
            {
                T result = await call(DateTime.UtcNow + CallTimeout);
                _presence.Seen();
                return result;
            }
            catch (RpcException exception) when (IsStale(exception))
            {
                throw new StaleAttemptException(exception.Status.Detail, exception);
            }
            catch (RpcException exception) when (IsTransient(exception) && !cancellationToken.IsCancellationRequested
                && Stopwatch.GetElapsedTime(start) < timeout)
            {
                await Task.Delay(Math.Min(100 << Math.Min(attempt, 5), 2000), cancellationToken);
            }
        }
    }

    private static bool IsStale(RpcException exception) =>
        exception.StatusCode is StatusCode.FailedPrecondition or StatusCode.PermissionDenied or StatusCode.NotFound;

    private static bool IsTransient(RpcException exception) =>
        exception.StatusCode is StatusCode.Unavailable or StatusCode.DeadlineExceeded or StatusCode.Cancelled
            or StatusCode.Internal or StatusCode.Unknown or StatusCode.Aborted;
}
