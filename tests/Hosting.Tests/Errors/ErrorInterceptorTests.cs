using Google.Rpc;
using Grpc.Core;
using Platform.Core.Validation;
using Platform.Hosting.Errors;
using Platform.Internal.V1;
using Xunit;

namespace Platform.Hosting.Tests.Errors;

public sealed class ErrorInterceptorTests
{
    public static TheoryData<PlatformException, StatusCode, string> Known => new()
    {
        { new NotFoundException("projects/p/jobs/j"), StatusCode.NotFound, "NOT_FOUND" },
        { new AlreadyExistsException("projects/p/jobs/j", "There is one."), StatusCode.AlreadyExists, "ALREADY_EXISTS" },
        { new FailedPreconditionException("STALE_ATTEMPT", "It is over."), StatusCode.FailedPrecondition, "STALE_ATTEMPT" },
        { new ConflictException("It changed."), StatusCode.Aborted, "CONFLICT" },
        { new UnavailableException("NO_LEADER", "Nobody leads."), StatusCode.Unavailable, "NO_LEADER" },
        { new DeadlineExceededException("SLOW", "Too slow."), StatusCode.DeadlineExceeded, "SLOW" },
        { new PermissionDeniedException("NO", "No."), StatusCode.PermissionDenied, "NO" },
        { new UnauthenticatedException("Who?"), StatusCode.Unauthenticated, "UNAUTHENTICATED" },
        { new UnimplementedException("Not yet."), StatusCode.Unimplemented, "UNIMPLEMENTED" },
    };

    [Theory]
    [MemberData(nameof(Known))]
    public async Task Known_exceptions_keep_their_code_reason_and_message(PlatformException thrown, StatusCode code, string reason)
    {
        RpcException caught = await CallAsync(thrown);
        Assert.Equal((code, thrown.Message), (caught.StatusCode, caught.Status.Detail));
        ErrorInfo? info = caught.GetRpcStatus()?.GetDetail<ErrorInfo>();
        Assert.Equal((PlatformException.Domain, reason), (info?.Domain, info?.Reason));
    }

    [Fact]
    public async Task All_violations_arrive_at_once()
    {
        RpcException caught = await CallAsync(new InvalidRequestException(
            [new Violation("parallelism.tensor", "Expected a divisor of 8."), new Violation("data.source[1]", "Is missing.")]));
        Assert.Equal(StatusCode.InvalidArgument, caught.StatusCode);
        BadRequest? request = caught.GetRpcStatus()?.GetDetail<BadRequest>();
        Assert.Equal(
            [("parallelism.tensor", "Expected a divisor of 8."), ("data.source[1]", "Is missing.")],
            request?.FieldViolations.Select(v => (v.Field, v.Description)));
    }

    [Fact]
    public async Task A_full_queue_says_when_to_come_back()
    {
        RpcException caught = await CallAsync(new ResourceExhaustedException("QUEUE_FULL", "Full.", TimeSpan.FromSeconds(1.5)));
        Assert.Equal(TimeSpan.FromSeconds(1.5), caught.GetRpcStatus()?.GetDetail<RetryInfo>()?.RetryDelay.ToTimeSpan());
    }

    [Fact]
    public async Task Facts_travel_as_metadata()
    {
        var thrown = new UnavailableException("NOT_LEADER", "Ask the leader.");
        thrown.Facts["leader_address"] = "http://h:1";
        RpcException caught = await CallAsync(thrown);
        Assert.Equal("http://h:1", caught.GetRpcStatus()?.GetDetail<ErrorInfo>()?.Metadata["leader_address"]);
    }

    [Fact]
    public async Task An_unexpected_exception_tells_its_type_but_not_its_secrets()
    {
        RpcException caught = await CallAsync(new InvalidOperationException("password=hunter2"));
        Assert.Equal(StatusCode.Internal, caught.StatusCode);
        Assert.DoesNotContain("hunter2", caught.Status.Detail, StringComparison.Ordinal);
        Assert.Contains("InvalidOperationException", caught.Status.Detail, StringComparison.Ordinal);
        Assert.Equal("INTERNAL", caught.GetRpcStatus()?.GetDetail<ErrorInfo>()?.Reason);
    }

    [Fact]
    public async Task A_status_from_another_service_passes_unchanged()
    {
        RpcException first = new FailedPreconditionException("STALE_ATTEMPT", "It is over.").ToRpcException();
        RpcException caught = await CallAsync(first);
        Assert.Equal("STALE_ATTEMPT", caught.GetRpcStatus()?.GetDetail<ErrorInfo>()?.Reason);
    }

    private static async Task<RpcException> CallAsync(Exception thrown)
    {
        await using TestService service = await TestService.StartAsync((_, _) => throw thrown);
        return await Assert.ThrowsAsync<RpcException>(async () => await service.Client.HelloAsync(new HelloRequest()));
    }
}
