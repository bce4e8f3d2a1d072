using System.Text.Json.Nodes;
using Platform.Core.Deployments;
using Platform.Core.Validation;
using Xunit;

namespace Platform.Core.Tests.Deployments;

internal static class DeploymentInputs
{
    public static DeploymentSpec Accepted(JsonNode? input) => DeploymentSpecReader.Read(input) switch
    {
        Validated<DeploymentSpec>.Valid valid => valid.Value,
        Validated<DeploymentSpec>.Invalid invalid => throw new Xunit.Sdk.XunitException(string.Join("\n", invalid.Violations)),
        _ => throw new InvalidOperationException(),
    };

    public static IReadOnlyList<string> Refused(string json) =>
        [.. Assert.IsType<Validated<DeploymentSpec>.Invalid>(DeploymentSpecReader.Read(JsonNode.Parse(json))).Violations.Select(violation => violation.ToString())];
}
