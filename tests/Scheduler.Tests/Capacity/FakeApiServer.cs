using System.Collections.Concurrent;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Platform.Hosting;
using Platform.Hosting.Network;

namespace Platform.Scheduler.Tests.Capacity;

/// <summary>The pods of a Kubernetes API server, over HTTP on loopback.</summary>
internal sealed class FakeApiServer : IAsyncDisposable
{
    private WebApplication? app;

    public string Address { get; private set; } = "";

    public ConcurrentDictionary<string, JsonObject> Pods { get; } = new();

    public ConcurrentQueue<string> Calls { get; } = new();

    /// <summary>Why a pod is not created; null to create it.</summary>
    public string? Refusal { get; set; }

    public static async Task<FakeApiServer> StartAsync()
    {
        var server = new FakeApiServer();
        var builder = PlatformHost.CreateBuilder("kubernetes", []);
        builder.Logging.ClearProviders();
        builder.ListenHttp("http", ListenAddress.Loopback);
        server.app = builder.Build();
        const string path = "/api/v1/namespaces/{space}/pods";
        server.app.MapGet(path, (string space, string labelSelector) => server.List(space, labelSelector));
        server.app.MapPost(path, async (string space, HttpRequest request) => server.Create(space, (JsonObject)(await JsonNode.ParseAsync(request.Body))!));
        server.app.MapDelete(path + "/{name}", (string space, string name) => server.Delete(name));
        await server.app.StartAsync();
        server.Address = server.app.Address("http");
        return server;
    }

    public async ValueTask DisposeAsync()
    {
        if (app is not null)
        {
            await app.DisposeAsync();
        }
    }

    private IResult List(string space, string selector)
    {
        Calls.Enqueue("list");
        string[] label = selector.Split('=');
        var items = new JsonArray([.. Pods.Values.Where(pod => (string?)pod["metadata"]?["labels"]?[label[0]] == label[1]).Select(pod => pod.DeepClone())]);
        return Json(200, new JsonObject { ["kind"] = "PodList", ["apiVersion"] = "v1", ["metadata"] = new JsonObject(), ["items"] = items });
    }

    private IResult Create(string space, JsonObject pod)
    {
        Calls.Enqueue("create");
        string name = (string?)pod["metadata"]?["name"] ?? "";
        if (Refusal is not null)
        {
            return Json(403, Status(403, Refusal));
        }

        pod["status"] = new JsonObject
        {
            ["phase"] = "Pending",
            ["conditions"] = new JsonArray(new JsonObject { ["type"] = "PodScheduled", ["status"] = "False", ["reason"] = "Unschedulable", ["message"] = "0/3 nodes are available." }),
        };
        return Pods.TryAdd(name, pod) ? Json(201, pod) : Json(409, Status(409, $"pods \"{name}\" already exists"));
    }

    private IResult Delete(string name)
    {
        Calls.Enqueue("delete");
        return Pods.TryRemove(name, out var pod) ? Json(200, pod) : Json(404, Status(404, $"pods \"{name}\" not found"));
    }

    private static JsonObject Status(int code, string message) =>
        new() { ["kind"] = "Status", ["apiVersion"] = "v1", ["status"] = "Failure", ["message"] = message, ["code"] = code };

    private static IResult Json(int code, JsonNode body) => Results.Text(body.ToJsonString(), "application/json", statusCode: code);
}
