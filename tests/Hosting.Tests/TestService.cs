using Grpc.Core;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Platform.Hosting.Network;
using Platform.Internal.V1;

namespace Platform.Hosting.Tests;

/// <summary>A host with the platform's defaults and one service, RankService, whose Hello does what a test says.</summary>
internal sealed class TestService : IAsyncDisposable
{
    private TestService(WebApplication app) => App = app;

    public WebApplication App { get; }

    public RankService.RankServiceClient Client => new(GrpcChannels.Connect(App.Address("grpc")));

    public static async Task<TestService> StartAsync(
        Func<HelloRequest, ServerCallContext, Task<HelloResponse>> hello, string[]? args = null, Action<WebApplicationBuilder>? configure = null,
        string requiredListener = "grpc")
    {
        WebApplicationBuilder builder = PlatformHost.CreateBuilder("test", args ?? []);
        builder.Logging.ClearProviders();
        builder.ListenGrpc("grpc", ListenAddress.Loopback);
        builder.ListenHttp("http", ListenAddress.Loopback);
        builder.Services.AddSingleton(hello);
        configure?.Invoke(builder);
        WebApplication app = builder.Build();
        app.MapPlatformDefaults();
        app.MapGrpcService<Service>().RequireListener(requiredListener);
        await app.StartAsync();
        return new TestService(app);
    }

    public async ValueTask DisposeAsync()
    {
        await App.StopAsync();
        await App.DisposeAsync();
    }

    private sealed class Service(Func<HelloRequest, ServerCallContext, Task<HelloResponse>> hello) : RankService.RankServiceBase
    {
        public override Task<HelloResponse> Hello(HelloRequest request, ServerCallContext context) => hello(request, context);
    }
}
