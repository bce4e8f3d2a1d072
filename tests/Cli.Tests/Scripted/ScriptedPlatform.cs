using System.Collections.Concurrent;
using Google.Protobuf;
using Grpc.Core;
using Grpc.Core.Interceptors;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Platform.Cli.Tests.Scripted;

/// <summary>
/// A peer on a real socket that speaks the public API and does what a test scripted for each method; what is not scripted
/// answers UNIMPLEMENTED. Remembers every call.
/// </summary>
internal sealed class ScriptedPlatform : IAsyncDisposable
{
    private readonly WebApplication _application;

    private ScriptedPlatform(WebApplication application, Script script)
    {
        _application = application;
        Script = script;
        var addresses = application.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>();
        Address = addresses?.Addresses.Single() ?? throw new InvalidOperationException("The server has no address.");
    }

    public string Address { get; }

    public Script Script { get; }

    public static async Task<ScriptedPlatform> StartAsync()
    {
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        var script = new Script();
        builder.Logging.ClearProviders();
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
            kestrel.Listen(System.Net.IPAddress.Loopback, 0, listener => listener.Protocols = HttpProtocols.Http2));
        builder.Services.AddRoutingCore();
        builder.Services.AddSingleton(script);
        builder.Services.AddGrpc(options => options.Interceptors.Add<Recorder>());
        var application = builder.Build();
        application.UseRouting();
        application.MapGrpcService<ScriptedJobs>();
        application.MapGrpcService<ScriptedModels>();
        application.MapGrpcService<ScriptedDeployments>();
        application.MapGrpcService<ScriptedCluster>();
        application.MapGrpcService<ScriptedInference>();
        application.MapGrpcService<ScriptedOperations>();
        await application.StartAsync();
        return new ScriptedPlatform(application, script);
    }

    public async ValueTask DisposeAsync()
    {
        using var now = new CancellationTokenSource();
        await now.CancelAsync();
        await _application.StopAsync(now.Token);
        await _application.DisposeAsync();
    }

    private sealed class Recorder(Script script) : Interceptor
    {
        public override Task<TResponse> UnaryServerHandler<TRequest, TResponse>(
            TRequest request, ServerCallContext context, UnaryServerMethod<TRequest, TResponse> continuation)
        {
            script.Record(request, context);
            return continuation(request, context);
        }

        public override Task ServerStreamingServerHandler<TRequest, TResponse>(
            TRequest request, IServerStreamWriter<TResponse> responseStream, ServerCallContext context, ServerStreamingServerMethod<TRequest, TResponse> continuation)
        {
            script.Record(request, context);
            return continuation(request, responseStream, context);
        }
    }
}

/// <summary>A call that was made.</summary>
internal sealed record RecordedCall(string Method, IMessage Request, Metadata Headers, DateTime Deadline);

/// <summary>What each method does.</summary>
internal sealed class Script
{
    private readonly ConcurrentDictionary<Type, Func<object, object>> _answers = new();
    private readonly ConcurrentDictionary<Type, Func<object, object, CancellationToken, Task>> _streams = new();

    public ConcurrentQueue<RecordedCall> Calls { get; } = new();

    /// <summary>Scripts the method that takes this request.</summary>
    public Script On<TRequest, TResponse>(Func<TRequest, TResponse> answer)
        where TRequest : class
        where TResponse : class
    {
        _answers[typeof(TRequest)] = request => answer((TRequest)request);
        return this;
    }

    /// <summary>Scripts the streaming method that takes this request.</summary>
    public Script OnStream<TRequest, TResponse>(Func<TRequest, IServerStreamWriter<TResponse>, CancellationToken, Task> stream)
        where TRequest : class
    {
        _streams[typeof(TRequest)] = (request, writer, cancellation) => stream((TRequest)request, (IServerStreamWriter<TResponse>)writer, cancellation);
        return this;
    }

    /// <summary>Scripts a stream that sends these messages and ends.</summary>
    public Script OnStream<TRequest, TResponse>(params TResponse[] messages)
        where TRequest : class =>
        OnStream<TRequest, TResponse>(async (_, writer, cancellation) =>
        {
            foreach (var message in messages)
                await writer.WriteAsync(message, cancellation);
        });

    public TRequest Only<TRequest>()
        where TRequest : class => Calls.Select(call => call.Request).OfType<TRequest>().Single();

    public void Record(object request, ServerCallContext context) =>
        Calls.Enqueue(new RecordedCall(context.Method, (IMessage)request, context.RequestHeaders, context.Deadline));

    public Task<TResponse> AnswerAsync<TResponse>(object request) =>
        _answers.TryGetValue(request.GetType(), out var answer)
            ? Task.FromResult((TResponse)answer(request))
            : throw new RpcException(new Status(StatusCode.Unimplemented, $"{request.GetType().Name} is not scripted."));

    public Task StreamAsync<TResponse>(object request, IServerStreamWriter<TResponse> writer, ServerCallContext context) =>
        _streams.TryGetValue(request.GetType(), out var stream)
            ? stream(request, writer, context.CancellationToken)
            : throw new RpcException(new Status(StatusCode.Unimplemented, $"{request.GetType().Name} is not scripted."));
}
