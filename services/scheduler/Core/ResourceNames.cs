namespace Platform.Scheduler.Core;

/// <summary>Resource names of the API (AIP-122).</summary>
internal static class ResourceNames
{
    public static string Job(string project, string job) => $"projects/{project}/jobs/{job}";

    public static string Model(string project, string model) => $"projects/{project}/models/{model}";

    public static string Deployment(string project, string deployment) => $"projects/{project}/deployments/{deployment}";

    /// <summary>Reads <c>projects/{project}</c>.</summary>
    public static string? TryReadProject(string parent) =>
        parent.Split('/') is ["projects", { Length: > 0 } project] ? project : null;

    /// <summary>Reads <c>projects/{project}/{collection}/{id}</c>.</summary>
    public static (string Project, string Id)? TryRead(string name, string collection) =>
        name.Split('/') is ["projects", { Length: > 0 } project, var found, { Length: > 0 } id] && found == collection ? (project, id) : null;
}
