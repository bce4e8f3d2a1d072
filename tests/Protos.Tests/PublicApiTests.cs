using System.Text.RegularExpressions;
using Google.Api;
using Google.Protobuf.Reflection;
using Xunit;

namespace Platform.Protos.Tests;

public sealed partial class PublicApiTests
{
    [Theory]
    [InlineData("JobService", "CreateJob GetJob ListJobs CancelJob PauseJob ResumeJob UpdateJob WatchJob* StreamLogs* GetMetrics ExplainJob PlanJob GetTrace*")]
    [InlineData("ModelService", "ListModels GetModel ImportModel ExportModel DeleteModel")]
    [InlineData("DeploymentService", "CreateDeployment GetDeployment ListDeployments UpdateDeployment DeleteDeployment WatchDeployment*")]
    [InlineData("InferenceService", "Generate* Chat* Embed Tokenize Compare")]
    [InlineData("ClusterService", "ListNodes GetNode DrainNode UndrainNode ListQueues UpdateQueue QueryUsage Simulate")]
    [InlineData("ArtifactService", "StatArtifacts UploadArtifact DownloadArtifact*")]
    public void Has_every_documented_method(string service, string methods)
    {
        var descriptor = Service(service);

        Assert.Equal(methods.Split(' '), descriptor.Methods.Select(method => method.Name + (method.IsServerStreaming ? "*" : "")));
    }

    [Theory]
    [InlineData("JobService")]
    [InlineData("ModelService")]
    [InlineData("DeploymentService")]
    [InlineData("ClusterService")]
    public void Control_methods_are_transcoded_to_json_under_one_prefix(string service)
    {
        foreach (var method in Service(service).Methods)
        {
            var rule = method.GetOptions()?.GetExtension(AnnotationsExtensions.Http);

            Assert.NotNull(rule);
            var path = new[] { rule.Get, rule.Put, rule.Post, rule.Delete, rule.Patch }.Single(path => path.Length > 0);
            Assert.StartsWith("/api/v1/", path, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void No_two_methods_share_a_path()
    {
        var paths =
            from file in ApiSurface.Public
            from service in file.Services
            from method in service.Methods
            let rule = method.GetOptions()?.GetExtension(AnnotationsExtensions.Http)
            where rule is not null
            select $"{rule.PatternCase} {Variable().Replace($"{rule.Get}{rule.Put}{rule.Post}{rule.Delete}{rule.Patch}", match => match.Groups[1].Value)}";

        Assert.Equal(paths.Distinct(), paths);
    }

    [Fact]
    public void Resources_are_named_and_creation_can_be_repeated()
    {
        foreach (var message in ApiSurface.Messages(ApiSurface.Public))
        {
            if (message.Name is "Job" or "Model" or "Deployment" or "Node" or "Queue")
                Assert.Equal(1, message.FindFieldByName("name")?.FieldNumber);
            if (message.Name is "CreateJobRequest" or "CreateDeploymentRequest" or "ImportModelRequest")
                Assert.Equal(FieldType.String, message.FindFieldByName("request_id")?.FieldType);
            if (message.Name.StartsWith("List", StringComparison.Ordinal) && message.FindFieldByName("page_size") is not null)
                Assert.NotNull(message.FindFieldByName("page_token"));
        }
    }

    [Fact]
    public void Counters_that_scripts_read_are_32_bits_so_that_json_has_numbers()
    {
        var steps = ApiSurface.Messages(ApiSurface.Public).SelectMany(message => message.Fields.InDeclarationOrder())
            .Where(field => field.Name is "step" or "total_steps" or "restarts" or "attempt" or "rank" or "desired_replicas" or "ready_replicas");

        Assert.All(steps, field => Assert.Equal(FieldType.Int32, field.FieldType));
    }

    [Fact]
    public void Every_enumeration_begins_with_unspecified_and_prefixes_its_values()
    {
        foreach (var type in ApiSurface.Enums(ApiSurface.All))
        {
            var prefix = Words().Replace(type.Name, "_$1").TrimStart('_').ToUpperInvariant() + "_";
            Assert.Equal(prefix + "UNSPECIFIED", type.FindValueByNumber(0)?.Name);
            Assert.All(type.Values, value => Assert.StartsWith(prefix, value.Name, StringComparison.Ordinal));
        }
    }

    private static ServiceDescriptor Service(string name) =>
        ApiSurface.Public.SelectMany(file => file.Services).Single(service => service.FullName == $"platform.v1.{name}");

    [GeneratedRegex(@"\{[^=}]+=([^}]*)\}")]
    private static partial Regex Variable();

    [GeneratedRegex("([A-Z])")]
    private static partial Regex Words();
}
