using Google.Rpc;
using Grpc.Core;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Logging;
using Platform.Hosting.Network;
using Platform.Internal.V1;

namespace Platform.Worker.Agent.Adapters.Scheduler;

/// <summary>Calls to the leading scheduler. A standby that names the leader's address redirects the next call there.</summary>
internal sealed partial class SchedulerLink
{
    /// <summary>Key of the leader's address in the <c>ErrorInfo</c> of a standby's UNAVAILABLE.</summary>
    public const string LeaderAddress = "leader_address";

    private readonly IConfiguration _configuration;
    private readonly ILogger _logger;
    private volatile NodeService.NodeServiceClient _client;

    public SchedulerLink(IConfiguration configuration, AgentOptions options, ILogger<SchedulerLink> logger)
    {
        _configuration = configuration;
        _logger = logger;
        _client = Connect(options.SchedulerAddress);
    }

    /// <summary>Makes one call.</summary>
    public async Task<T> OnceAsync<T>(
        Func<NodeService.NodeServiceClient, CallOptions, Task<T>> call, TimeSpan timeout, CancellationToken cancellationToken)
    {
        try
        {
            return await call(_client, new CallOptions(deadline: DateTime.UtcNow + timeout, cancellationToken: cancellationToken));
        }
        catch (RpcException exception) when (exception.StatusCode == StatusCode.Unavailable)
        {
            Follow(exception);
            throw;
        }
    }

    /// <summary>Follows a stream until it ends.</summary>
    public async Task WatchAsync(Func<NodeService.NodeServiceClient, CallOptions, Task> call, CancellationToken cancellationToken)
    {
        try
        {
            await call(_client, new CallOptions(cancellationToken: cancellationToken));
        }
        catch (RpcException exception) when (exception.StatusCode == StatusCode.Unavailable)
        {
            Follow(exception);
            throw;
        }
    }

    /// <summary>Repeats an idempotent call while the scheduler is not there, until shortly before a deadline.</summary>
    public async Task<T> CallAsync<T>(
        Func<NodeService.NodeServiceClient, CallOptions, Task<T>> call, DateTime deadline, CancellationToken cancellationToken)
    {
        DateTime giveUp = deadline == DateTime.MaxValue ? DateTime.UtcNow.AddSeconds(10) : deadline.ToUniversalTime().AddMilliseconds(-500);
        for (int attempt = 0; ; attempt++)
        {
            try
            {
                return await OnceAsync(call, giveUp - DateTime.UtcNow, cancellationToken);
            }
            catch (RpcException exception) when (exception.StatusCode == StatusCode.Unavailable && DateTime.UtcNow < giveUp)
            {
                await Task.Delay(Math.Min(100 << Math.Min(attempt, 4), 1000), cancellationToken);
            }
        }
    }

    private void Follow(RpcException exception)
    {
        if (exception.GetRpcStatus()?.GetDetail<ErrorInfo>() is { } info
            && info.Metadata.TryGetValue(LeaderAddress, out string? leader) && leader.Length > 0)
        {
            LogLeader(_logger, leader);
            _client = Connect(leader);
        }
    }

    private NodeService.NodeServiceClient Connect(string address) => new(GrpcChannels.Invoker(_configuration, "scheduler", address));

    [LoggerMessage(EventId = 2030, Level = LogLevel.Information, Message = "The leading scheduler is at {Address}")]
    private static partial void LogLeader(ILogger logger, string address);
}
