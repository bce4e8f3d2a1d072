using System.Collections.Immutable;
using Platform.Hosting.Errors;
using Platform.Internal.V1;

namespace Platform.Gateway.Inference;

/// <summary>The deployments the scheduler last told of. Read by requests, replaced as a whole by the watch loop.</summary>
public sealed class RoutingTable
{
    private readonly Lock _gate = new();
    private ImmutableDictionary<string, ServedModel> _opened = ImmutableDictionary<string, ServedModel>.Empty;
    private ImmutableDictionary<string, DeploymentRoute> _routes = ImmutableDictionary<string, DeploymentRoute>.Empty;
    private ImmutableDictionary<string, DeploymentRoute> _adapters = ImmutableDictionary<string, DeploymentRoute>.Empty;
    private TaskCompletionSource _changed = NewSignal();

    /// <summary>Whether the scheduler has been heard since the gateway started.</summary>
    public bool IsReady { get; private set; }

    /// <summary>Routes of adapters that are served beside models, by the adapter's name.</summary>
    public IReadOnlyDictionary<string, DeploymentRoute> Adapters => _adapters;

    /// <summary>All routes, by deployment id.</summary>
    public IReadOnlyDictionary<string, DeploymentRoute> Routes => _routes;

    /// <summary>Completes at the next change of the table.</summary>
    public Task Changed
    {
        get
        {
            lock (_gate)
                return _changed.Task;
        }
    }

    /// <summary>Replaces the table.</summary>
    public void Replace(IEnumerable<DeploymentRoute> routes)
    {
        TaskCompletionSource signal;
        lock (_gate)
        {
            _routes = routes.ToImmutableDictionary(route => route.DeploymentId);
            // A name that several deployments use is the oldest one's.
            _adapters = _routes.Values.OrderByDescending(route => route.CreateTimeUnix).ThenBy(route => route.DeploymentId, StringComparer.Ordinal)
                .SelectMany(route => route.Adapters.Where(name => !_routes.ContainsKey(name)).Select(name => KeyValuePair.Create(name, route)))
                .Aggregate(ImmutableDictionary<string, DeploymentRoute>.Empty, (all, adapter) => all.SetItem(adapter.Key, adapter.Value));
            _opened = _opened.RemoveRange(_opened
                .Where(entry => !_routes.TryGetValue(entry.Key, out var route) || !SameFiles(route, entry.Value.Route))
                .Select(entry => entry.Key)
                .ToArray());
            IsReady = true;
            signal = _changed;
            _changed = NewSignal();
        }
        signal.SetResult();
    }

    /// <summary>Finds the route of a model id or of a deployment's resource name.</summary>
    /// <exception cref="NotFoundException">Nothing is deployed under that name; the message lists what is.</exception>
    public DeploymentRoute Find(string model)
    {
        string id = model.StartsWith("projects/", StringComparison.Ordinal) ? model[(model.LastIndexOf('/') + 1)..] : model;
        return _routes.TryGetValue(id, out var route)
            ? route
            : throw new NotFoundException(_routes.IsEmpty
                ? $"deployed model '{model}'; nothing is deployed"
                : $"deployed model '{model}'; deployed are {string.Join(", ", _routes.Keys.Concat(_adapters.Keys).Order(StringComparer.Ordinal))}");
    }

    /// <summary>The model of a request: a deployment's own, or that with one of its adapters.</summary>
    /// <exception cref="NotFoundException">Nothing is deployed under that name; the message lists what is.</exception>
    public ServedModel OpenNamed(string model) =>
        _adapters.TryGetValue(model, out var route) ? Open(route).With(model) : Open(Find(model));

    /// <summary>The model behind a route, opened on first use.</summary>
    public ServedModel Open(DeploymentRoute route)
    {
        if (_opened.TryGetValue(route.DeploymentId, out var open) && SameFiles(route, open.Route))
            return ReferenceEquals(open.Route, route) ? open : open.At(route);
        var model = ServedModel.Open(route);
        lock (_gate)
            _opened = _opened.SetItem(route.DeploymentId, model);
        return model;
    }

    private static bool SameFiles(DeploymentRoute a, DeploymentRoute b) =>
        a.ModelPath == b.ModelPath && a.ModelVersion == b.ModelVersion && Equals(a.Generation, b.Generation);

    private static TaskCompletionSource NewSignal() => new(TaskCreationOptions.RunContinuationsAsynchronously);
}
