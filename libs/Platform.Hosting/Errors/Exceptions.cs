using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Google.Rpc;
using Grpc.Core;
using Platform.Core.Validation;

namespace Platform.Hosting.Errors;

/// <summary>INVALID_ARGUMENT: the request is wrong whatever the state of the system; lists everything that is wrong.</summary>
public sealed class InvalidRequestException : PlatformException
{
    /// <summary>Creates the exception from violations.</summary>
    /// <param name="violations">All that is wrong; at least one.</param>
    public InvalidRequestException(IReadOnlyList<Violation> violations)
        : base(StatusCode.InvalidArgument, "INVALID_REQUEST", Describe(violations), null) => Violations = violations;

    /// <summary>Creates the exception from one violation.</summary>
    /// <param name="field">Path of the field.</param>
    /// <param name="message">What is wrong with it.</param>
    public InvalidRequestException(string field, string message)
        : this([new Violation(field, message)])
    {
    }

    /// <summary>All that is wrong.</summary>
    public IReadOnlyList<Violation> Violations { get; }

    private protected override IEnumerable<IMessage> Details()
    {
        var request = new BadRequest();
        foreach (Violation violation in Violations)
        {
            request.FieldViolations.Add(new BadRequest.Types.FieldViolation
            {
                Field = violation.Field,
                Description = violation.Message,
            });
        }

        yield return request;
    }

    private static string Describe(IReadOnlyList<Violation> violations) =>
        violations.Count == 1
            ? violations[0].ToString()
            : $"{violations.Count} things are wrong: {string.Join(" ", violations.Select(v => $"{v.Field}: {v.Message}"))}";
}

/// <summary>NOT_FOUND: nothing has that name, or the caller may not see it.</summary>
public sealed class NotFoundException : PlatformException
{
    /// <summary>Creates the exception.</summary>
    /// <param name="resource">Full resource name.</param>
    public NotFoundException(string resource)
        : base(StatusCode.NotFound, "NOT_FOUND", $"There is no {resource}.", null) => Facts["resource"] = resource;
}

/// <summary>ALREADY_EXISTS: the name is taken by something else.</summary>
public sealed class AlreadyExistsException : PlatformException
{
    /// <summary>Creates the exception.</summary>
    /// <param name="resource">Full resource name.</param>
    /// <param name="message">What exists and what to do.</param>
    public AlreadyExistsException(string resource, string message)
        : base(StatusCode.AlreadyExists, "ALREADY_EXISTS", message, null) => Facts["resource"] = resource;
}

/// <summary>FAILED_PRECONDITION: right in itself, but not in the present state; repeating it unchanged cannot help.</summary>
public sealed class FailedPreconditionException : PlatformException
{
    /// <summary>Creates the exception.</summary>
    /// <param name="reason">UPPER_SNAKE reason.</param>
    /// <param name="message">What was expected, what was found, what to do.</param>
    public FailedPreconditionException(string reason, string message)
        : base(StatusCode.FailedPrecondition, reason, message, null)
    {
    }
}

/// <summary>ABORTED: somebody else changed the same thing first; read it again and repeat.</summary>
public sealed class ConflictException : PlatformException
{
    /// <summary>Creates the exception.</summary>
    /// <param name="message">What changed.</param>
    public ConflictException(string message)
        : base(StatusCode.Aborted, "CONFLICT", message, null)
    {
    }
}

/// <summary>RESOURCE_EXHAUSTED: a queue or a quota is full; says when to come back.</summary>
public sealed class ResourceExhaustedException : PlatformException
{
    /// <summary>Creates the exception.</summary>
    /// <param name="reason">UPPER_SNAKE reason.</param>
    /// <param name="message">What is full.</param>
    /// <param name="retryAfter">When trying again may help.</param>
    public ResourceExhaustedException(string reason, string message, TimeSpan retryAfter)
        : base(StatusCode.ResourceExhausted, reason, message, null) => RetryAfter = retryAfter;

    /// <summary>When trying again may help.</summary>
    public TimeSpan RetryAfter { get; }

    private protected override IEnumerable<IMessage> Details() =>
        [new RetryInfo { RetryDelay = Duration.FromTimeSpan(RetryAfter) }];
}

/// <summary>UNAVAILABLE: not now; the same call may work after a pause.</summary>
public sealed class UnavailableException : PlatformException
{
    /// <summary>Creates the exception.</summary>
    /// <param name="reason">UPPER_SNAKE reason.</param>
    /// <param name="message">What is missing.</param>
    /// <param name="inner">Cause, if there is one.</param>
    public UnavailableException(string reason, string message, Exception? inner = null)
        : base(StatusCode.Unavailable, reason, message, inner)
    {
    }

    /// <summary>When trying again may help; null when nobody can tell.</summary>
    public TimeSpan? RetryAfter { get; init; }

    private protected override IEnumerable<IMessage> Details() =>
        RetryAfter is { } delay ? [new RetryInfo { RetryDelay = Duration.FromTimeSpan(delay) }] : [];
}

/// <summary>DEADLINE_EXCEEDED: something did not happen in time.</summary>
public sealed class DeadlineExceededException : PlatformException
{
    /// <summary>Creates the exception.</summary>
    /// <param name="reason">UPPER_SNAKE reason.</param>
    /// <param name="message">What was waited for, and for how long.</param>
    public DeadlineExceededException(string reason, string message)
        : base(StatusCode.DeadlineExceeded, reason, message, null)
    {
    }
}

/// <summary>PERMISSION_DENIED: the caller is known and may not do this.</summary>
public sealed class PermissionDeniedException : PlatformException
{
    /// <summary>Creates the exception.</summary>
    /// <param name="reason">UPPER_SNAKE reason.</param>
    /// <param name="message">What is not allowed.</param>
    public PermissionDeniedException(string reason, string message)
        : base(StatusCode.PermissionDenied, reason, message, null)
    {
    }
}

/// <summary>UNAUTHENTICATED: the caller did not prove who it is.</summary>
public sealed class UnauthenticatedException : PlatformException
{
    /// <summary>Creates the exception.</summary>
    /// <param name="message">What to present.</param>
    public UnauthenticatedException(string message)
        : base(StatusCode.Unauthenticated, "UNAUTHENTICATED", message, null)
    {
    }
}

/// <summary>UNIMPLEMENTED: part of the contract that this version does not serve yet.</summary>
public sealed class UnimplementedException : PlatformException
{
    /// <summary>Creates the exception.</summary>
    /// <param name="reason">Why, as a sentence.</param>
    public UnimplementedException(string reason)
        : base(StatusCode.Unimplemented, "UNIMPLEMENTED", reason, null)
    {
    }
}
