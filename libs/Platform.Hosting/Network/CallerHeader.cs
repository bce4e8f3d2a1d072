using System.Text;
using Grpc.Core;

namespace Platform.Hosting.Network;

/// <summary>
/// Who called the gateway, as it tells the scheduler: the name of the API key. Nobody but the gateway reaches the scheduler's
/// port, which authenticates nobody, so this is for accounting and no proof.
/// </summary>
public static class CallerHeader
{
    /// <summary>Name of the gRPC header.</summary>
    public const string Name = "x-platform-user-bin";

    /// <summary>The caller when nothing is said.</summary>
    public const string Everyone = "default";

    /// <summary>Headers of a call on behalf of a user.</summary>
    /// <param name="user">Name of the user.</param>
    public static Metadata Of(string user) => new() { { Name, Encoding.UTF8.GetBytes(user) } };

    /// <summary>The user on whose behalf a call came.</summary>
    /// <param name="context">Call.</param>
    public static string Read(ServerCallContext context) =>
        context.RequestHeaders.GetValueBytes(Name) is { Length: > 0 } name ? Encoding.UTF8.GetString(name) : Everyone;
}
