namespace Platform.Cli.Server;

/// <summary>Full resource names from what people type: a bare id, or the full name.</summary>
/// <param name="project">Project of bare ids.</param>
internal sealed class ResourceNames(string project)
{
    /// <summary>Name of the project, the parent of what is created.</summary>
    public string Parent => $"projects/{project}";

    /// <summary><c>projects/{project}/jobs/{job}</c>.</summary>
    public string Job(string id) => InProject("jobs", "job", id);

    /// <summary><c>projects/{project}/models/{model}</c>.</summary>
    public string Model(string id) => InProject("models", "model", id);

    /// <summary><c>projects/{project}/deployments/{deployment}</c>.</summary>
    public string Deployment(string id) => InProject("deployments", "deployment", id);

    /// <summary><c>nodes/{node}</c>.</summary>
    public static string Node(string id) => id.Split('/') switch
    {
        [{ Length: > 0 }] => $"nodes/{id}",
        ["nodes", { Length: > 0 }] => id,
        _ => throw Wrong("node", id, "nodes/NODE"),
    };

    /// <summary>The last segment of a name.</summary>
    public static string Short(string name) => name[(name.LastIndexOf('/') + 1)..];

    private string InProject(string collection, string kind, string id) => id.Split('/') switch
    {
        [{ Length: > 0 }] => $"{Parent}/{collection}/{id}",
        [{ } only, { Length: > 0 }] when only == collection => $"{Parent}/{id}",
        ["projects", { Length: > 0 }, { } named, { Length: > 0 }] when named == collection => id,
        _ => throw Wrong(kind, id, $"projects/PROJECT/{collection}/ID"),
    };

    private static CommandException Wrong(string kind, string id, string form) =>
        new($"'{id}' does not name a {kind}; write its id, or its full name {form}.");
}
