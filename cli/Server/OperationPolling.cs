using Google.LongRunning;
using Grpc.Core;
using Platform.V1;

namespace Platform.Cli.Server;

/// <summary>Waits for a long-running operation.</summary>
internal static class OperationPolling
{
    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(2);

    /// <summary>Asks for the operation until it is done.</summary>
    /// <param name="session">The server.</param>
    /// <param name="operation">As the first call returned it.</param>
    /// <param name="progress">Told how far it is, where the server says so.</param>
    /// <param name="cancellation">Stops waiting; the operation goes on.</param>
    /// <returns>The finished operation, with a response.</returns>
    /// <exception cref="RpcException">It failed.</exception>
    public static async Task<Operation> WaitAsync(
        Session session, Operation operation, Action<ImportModelMetadata> progress, CancellationToken cancellation)
    {
        var pause = FirstPause;
        while (!operation.Done)
        {
            if (operation.Metadata?.TryUnpack<ImportModelMetadata>(out var metadata) == true)
                progress(metadata);
            await Task.Delay(pause, cancellation);
            pause = pause * 2 < LongestPause ? pause * 2 : LongestPause;
            operation = await session.Operations.GetOperationAsync(
                new GetOperationRequest { Name = operation.Name }, session.Call(cancellation));
        }

        return operation.ResultCase == Operation.ResultOneofCase.Error ? throw operation.Error.ToRpcException() : operation;
    }
}
