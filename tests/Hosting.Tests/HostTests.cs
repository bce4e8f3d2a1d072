using System.Text.Json.Nodes;
using Grpc.Health.V1;
using Grpc.Reflection.V1Alpha;
using Platform.Core.Validation;
using Platform.Hosting.Configuration;
using Platform.Hosting.Network;
using Platform.Internal.V1;
using Platform.Testing;
using Xunit;

namespace Platform.Hosting.Tests;

public sealed class HostTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task The_ready_file_tells_where_the_host_listens_and_goes_with_it()
    {
        using var directory = new TemporaryDirectory();
        string path = directory.File("ready.json");
        await using (TestService service = await StartAsync(["--ready-file", path]))
        {
            JsonNode? ready = JsonNode.Parse(await File.ReadAllTextAsync(path, Token));
            Assert.Equal(service.App.Address("grpc"), ready?["addresses"]?["grpc"]?.GetValue<string>());
            Assert.Equal(Environment.ProcessId, ready?["pid"]?.GetValue<int>());
            Assert.Equal("test", ready?["service"]?.GetValue<string>());
            Assert.StartsWith("http://127.0.0.1:", service.App.Address("http"), StringComparison.Ordinal);
            Assert.DoesNotContain(":0", service.App.Address("http"), StringComparison.Ordinal);
        }

        Assert.False(File.Exists(path));
    }

    [Fact]
    public async Task Health_readiness_metrics_and_reflection_are_there()
    {
        await using TestService service = await StartAsync([]);
        using var http = new HttpClient { BaseAddress = new Uri(service.App.Address("http")) };
        Assert.Equal("Healthy", await http.GetStringAsync("/healthz", Token));
        Assert.Equal("Healthy", await http.GetStringAsync("/readyz", Token));
        Assert.Contains("process_cpu_seconds_total", await http.GetStringAsync("/metrics", Token), StringComparison.Ordinal);
        using Grpc.Net.Client.GrpcChannel channel = GrpcChannels.Connect(service.App.Address("grpc"));
        var health = new Health.HealthClient(channel);
        Assert.Equal(
            HealthCheckResponse.Types.ServingStatus.Serving,
            (await health.CheckAsync(new HealthCheckRequest(), cancellationToken: Token)).Status);
        using var reflection = new ServerReflection.ServerReflectionClient(channel).ServerReflectionInfo(cancellationToken: Token);
        await reflection.RequestStream.WriteAsync(new ServerReflectionRequest { ListServices = "" }, Token);
        await reflection.ResponseStream.MoveNext(Token);
        Assert.Contains(reflection.ResponseStream.Current.ListServicesResponse.Service, s => s.Name == "platform.internal.v1.RankService");
    }

    [Fact]
    public async Task A_unix_socket_carries_grpc()
    {
        using var directory = new TemporaryDirectory();
        string socket = directory.File("s");
        await using TestService service = await TestService.StartAsync(
            (_, _) => Task.FromResult(new HelloResponse()), configure: builder => builder.ListenGrpcUnix("unix", socket), requiredListener: "unix");
        Assert.Equal($"unix:{socket}", service.App.Address("unix"));
        await new RankService.RankServiceClient(GrpcChannels.Connect($"unix:{socket}")).HelloAsync(new HelloRequest(), cancellationToken: Token);
    }

    [Theory]
    [InlineData("127.0.0.1:0", "127.0.0.1", 0)]
    [InlineData("*:8080", "*", 8080)]
    [InlineData("[::1]:65535", "::1", 65535)]
    [InlineData("some-host.local:81", "some-host.local", 81)]
    public void Reads_listen_addresses(string text, string host, int port)
    {
        Assert.True(ListenAddress.TryParse(text, out ListenAddress? address));
        Assert.Equal(new ListenAddress(host, port), address);
        Assert.Equal(text, address.ToString());
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("8080")]
    [InlineData(":8080")]
    [InlineData("localhost")]
    [InlineData("localhost:-1")]
    [InlineData("localhost:65536")]
    [InlineData("http://localhost:80")]
    [InlineData("::1:80")]
    public void Refuses_what_is_no_listen_address(string? text) => Assert.False(ListenAddress.TryParse(text, out _));

    [Fact]
    public void A_host_with_wrong_options_is_not_built_and_says_all_that_is_wrong()
    {
        var builder = PlatformHost.CreateBuilder("test", ["--A:Count", "-1", "--B:Count", "many"]);
        builder.AddPlatformOptions<CountOptions>("A");
        builder.AddPlatformOptions<CountOptions>("B");
        builder.AddPlatformOptions<CountOptions>("C");
        InvalidConfigurationException exception = Assert.Throws<InvalidConfigurationException>(() => builder.BuildPlatform());
        Assert.Contains("A:Count: Expected 1 or more, found -1.", exception.Message, StringComparison.Ordinal);
        Assert.Contains("'B:Count'", exception.Message, StringComparison.Ordinal);
        Assert.Equal(3, exception.Violations.Count);
    }

    [Fact]
    public async Task A_host_that_cannot_start_ends_with_a_message_and_a_code() =>
        Assert.Equal(78, await PlatformHost.RunAsync(() => throw new InvalidConfigurationException([new Violation("A:B", "Is wrong.")])));

    private static Task<TestService> StartAsync(string[] args) =>
        TestService.StartAsync((_, _) => Task.FromResult(new HelloResponse()), args);

    private sealed class CountOptions : IValidatedOptions
    {
        public int Count { get; set; }

        public IEnumerable<Violation> Validate() =>
            Count < 1 ? [new Violation("Count", $"Expected 1 or more, found {Count}.")] : [];
    }
}
