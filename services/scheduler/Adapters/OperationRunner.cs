using System.Threading.Channels;
using Google.LongRunning;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Microsoft.EntityFrameworkCore;
using Platform.Hosting.Errors;
using Platform.Scheduler.Data;

namespace Platform.Scheduler.Adapters;

/// <summary>
/// Runs what takes long, one after the other, and keeps its outcome. An operation that its process did not finish is ended as
/// failed by the next leader.
/// </summary>
internal sealed partial class OperationRunner(
    ControlLoop loop, Leadership leadership, IDbContextFactory<SchedulerDbContext> factory, ILogger<OperationRunner> logger) : BackgroundService
{
    private readonly Channel<Planned> queue = Channel.CreateBounded<Planned>(new BoundedChannelOptions(256) { SingleReader = true });

    /// <summary>Stores an operation and queues its work.</summary>
    /// <param name="project">Project it belongs to.</param>
    /// <param name="metadata">What is known at the start.</param>
    /// <param name="work">The work; its result becomes the response.</param>
    /// <param name="cancellationToken">Gives up before it is stored.</param>
    public async Task<Operation> StartAsync(string project, IMessage metadata, Func<CancellationToken, Task<IMessage>> work, CancellationToken cancellationToken)
    {
        var operation = new Operation { Name = $"operations/{Guid.NewGuid():N}", Metadata = Any.Pack(metadata) };
        await loop.RunAsync(
            control =>
            {
                control.Add(new OperationRow { Name = operation.Name, Project = project, Sequence = control.NextSequence(), Payload = operation.ToByteArray() });
                return true;
            },
            cancellationToken);
        if (!queue.Writer.TryWrite(new Planned(operation, work)))
        {
            await FinishAsync(operation, new Google.Rpc.Status { Code = (int)StatusCode.ResourceExhausted, Message = "Too many operations are waiting." }, cancellationToken);
        }

        return operation;
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        leadership.Won += () => _ = EndInterruptedAsync(stoppingToken);
        if (leadership.Epoch is not null)
        {
            await EndInterruptedAsync(stoppingToken);
        }

        await foreach (var planned in queue.Reader.ReadAllAsync(stoppingToken))
        {
            try
            {
                await RunAsync(planned, stoppingToken);
            }
            catch (UnavailableException exception)
            {
                // Leadership went away; whoever leads now ends the operation.
                LogNotStored(logger, planned.Operation.Name, exception.Message);
            }
        }
    }

    private async Task RunAsync(Planned planned, CancellationToken cancellationToken)
    {
        var operation = planned.Operation.Clone();
        try
        {
            operation.Response = Any.Pack(await planned.Work(cancellationToken));
            operation.Done = true;
            await StoreAsync(operation, cancellationToken);
        }
        catch (UnavailableException)
        {
            throw;
        }
        catch (PlatformException exception)
        {
            await FinishAsync(operation, exception.ToStatus(), cancellationToken);
        }
        catch (Exception exception) when (exception is not OperationCanceledException)
        {
            LogFailed(logger, exception, operation.Name);
            await FinishAsync(operation, new Google.Rpc.Status { Code = (int)StatusCode.Internal, Message = exception.Message }, cancellationToken);
        }
    }

    private Task FinishAsync(Operation operation, Google.Rpc.Status error, CancellationToken cancellationToken)
    {
        operation.Error = error;
        operation.Done = true;
        return StoreAsync(operation, cancellationToken);
    }

    private Task StoreAsync(Operation operation, CancellationToken cancellationToken) => loop.RunAsync(
        control =>
        {
            control.Write((db, cancellation) => db.Operations.Where(row => row.Name == operation.Name && !row.Done)
                .ExecuteUpdateAsync(set => set.SetProperty(row => row.Done, true).SetProperty(row => row.Payload, operation.ToByteArray()), cancellation));
            control.Touch(operation.Name);
            return true;
        },
        cancellationToken);

    private async Task EndInterruptedAsync(CancellationToken cancellationToken)
    {
        try
        {
            await using var db = await factory.CreateDbContextAsync(cancellationToken);
            foreach (var row in await db.Operations.AsNoTracking().Where(row => !row.Done).ToListAsync(cancellationToken))
            {
                await FinishAsync(
                    Operation.Parser.ParseFrom(row.Payload),
                    new Google.Rpc.Status { Code = (int)StatusCode.Aborted, Message = "The scheduler that ran it stopped before it was done; start it again." },
                    cancellationToken);
            }
        }
        catch (Exception exception) when (exception is not OperationCanceledException)
        {
            LogFailed(logger, exception, "interrupted operations");
        }
    }

    private sealed record Planned(Operation Operation, Func<CancellationToken, Task<IMessage>> Work);

    [LoggerMessage(EventId = 3040, Level = LogLevel.Warning, Message = "{Operation} failed")]
    private static partial void LogFailed(ILogger logger, Exception exception, string operation);

    [LoggerMessage(EventId = 3041, Level = LogLevel.Warning, Message = "The outcome of {Operation} could not be stored: {Reason}")]
    private static partial void LogNotStored(ILogger logger, string operation, string reason);
}
