using Google.LongRunning;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Microsoft.EntityFrameworkCore;
using Platform.Hosting.Errors;
using Platform.Scheduler.Adapters;
using Platform.Scheduler.Core;
using Platform.Scheduler.Data;

namespace Platform.Scheduler.Grpc;

/// <summary>Long-running operations.</summary>
internal sealed class OperationsImpl(IDbContextFactory<SchedulerDbContext> factory, ChangeFeed feed) : Operations.OperationsBase
{
    private static readonly TimeSpan LongestWait = TimeSpan.FromMinutes(10);

    public override async Task<Operation> GetOperation(GetOperationRequest request, ServerCallContext context) =>
        await FindAsync(request.Name, context.CancellationToken);

    public override async Task<ListOperationsResponse> ListOperations(ListOperationsRequest request, ServerCallContext context)
    {
        var (size, before) = Requests.Page(request.PageSize, request.PageToken);
        await using var db = await factory.CreateDbContextAsync(context.CancellationToken);
        long limit = before ?? long.MaxValue;
        var page = await db.Operations.AsNoTracking().Where(row => row.Sequence < limit)
            .OrderByDescending(row => row.Sequence).Take(size + 1).ToListAsync(context.CancellationToken);
        var response = new ListOperationsResponse { NextPageToken = page.Count > size ? PageToken.Write(page[size - 1].Sequence) : "" };
        response.Operations.AddRange(page.Take(size).Select(row => Operation.Parser.ParseFrom(row.Payload)));
        return response;
    }

    public override async Task<Operation> WaitOperation(WaitOperationRequest request, ServerCallContext context)
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(context.CancellationToken);
        patience.CancelAfter(request.Timeout?.ToTimeSpan() is { } timeout && timeout < LongestWait ? timeout : LongestWait);
        using var watcher = feed.Watch(request.Name);
        while (true)
        {
            var operation = await FindAsync(request.Name, context.CancellationToken);
            if (operation.Done)
            {
                return operation;
            }

            try
            {
                await watcher.WaitAsync(patience.Token);
            }
            catch (OperationCanceledException) when (!context.CancellationToken.IsCancellationRequested)
            {
                return operation;
            }
        }
    }

    public override Task<Empty> DeleteOperation(DeleteOperationRequest request, ServerCallContext context) =>
        throw new UnimplementedException("Operations are kept: their outcome is part of a model's history.");

    public override Task<Empty> CancelOperation(CancelOperationRequest request, ServerCallContext context) =>
        throw new UnimplementedException("Imports and exports run to their end; delete the model afterwards.");

    private async Task<Operation> FindAsync(string name, CancellationToken cancellationToken)
    {
        await using var db = await factory.CreateDbContextAsync(cancellationToken);
        var row = await db.Operations.AsNoTracking().SingleOrDefaultAsync(operation => operation.Name == name, cancellationToken);
        return row is null ? throw new NotFoundException(name) : Operation.Parser.ParseFrom(row.Payload);
    }
}
