using Xunit;

namespace Platform.Architecture.Tests;

/// <summary>The dependency rule of docs/ARCHITECTURE.md.</summary>
public sealed class DependencyRuleTests
{
    private static readonly string[] ServiceBase =
        ["Platform.Core", "Platform.Protos", "Platform.Hosting", "Platform.Formats", "Platform.Text"];

    private static readonly Dictionary<string, string[]> Allowed = new()
    {
        ["Platform.Core"] = [],
        ["Platform.Protos"] = [],
        ["Platform.Scheduling"] = ["Platform.Core"],
        ["Platform.Formats"] = ["Platform.Core"],
        ["Platform.Text"] = ["Platform.Core"],
        ["Platform.Hosting"] = ["Platform.Core", "Platform.Protos"],
        ["Platform.Torch"] = ["Platform.Core", "Platform.Formats"],
        ["Platform.Gateway"] = ServiceBase,
        ["Platform.Scheduler"] = [.. ServiceBase, "Platform.Scheduling"],
        ["Platform.Worker.Agent"] = ServiceBase,
        ["Platform.Worker.Engine"] = [.. ServiceBase, "Platform.Torch"],
        ["Platform.Worker"] = [.. ServiceBase, "Platform.Worker.Agent", "Platform.Worker.Engine"],
        ["Platform.Serving"] = [.. ServiceBase, "Platform.Torch"],
        ["Platform.Standalone"] =
            [.. ServiceBase, "Platform.Scheduling", "Platform.Gateway", "Platform.Scheduler", "Platform.Worker.Agent"],
        ["Platform.Cli"] = ["Platform.Core", "Platform.Protos", "Platform.Formats", "Platform.Scheduling"],
    };

    // Packages that several projects name because each of them speaks gRPC at its own edge.
    private static readonly HashSet<string> SharedPackages =
        ["Google.Api.CommonProtos", "Google.Protobuf", "Grpc.Net.Client", "Grpc.StatusProto"];

    [Fact]
    public void Every_product_project_has_a_rule() =>
        Assert.Equal(
            Allowed.Keys.Order(),
            Repository.Projects.Values.Where(project => project.IsProduct).Select(project => project.Name).Order());

    [Fact]
    public void Projects_reference_only_what_their_rule_allows()
    {
        var offences =
            from project in Repository.Projects.Values
            where project.IsProduct
            from reference in project.References
            where !Allowed[project.Name].Contains(reference)
            select $"{project.Name} → {reference}";
        Assert.Empty(offences);
    }

    [Fact]
    public void The_control_plane_never_reaches_torch()
    {
        foreach (var root in new[] { "Platform.Standalone", "Platform.Cli", "Platform.Worker.Agent" })
            Assert.DoesNotContain("Platform.Torch", Closure(root));
    }

    [Fact]
    public void Only_torch_names_the_native_packages() =>
        Assert.Equal(
            ["Platform.Torch"],
            Repository.Projects.Values
                .Where(project => project.Packages.Any(package => package.Contains("torch", StringComparison.OrdinalIgnoreCase)))
                .Select(project => project.Name));

    [Fact]
    public void Each_package_has_one_owner()
    {
        var offences =
            from project in Repository.Projects.Values
            where project.IsProduct
            from package in project.Packages
            where !SharedPackages.Contains(package)
            group project.Name by package into owners
            where owners.Count() > 1
            select $"{owners.Key}: {string.Join(", ", owners)}";
        Assert.Empty(offences);
    }

    [Fact]
    public void Versions_are_pinned_exactly_and_in_one_place()
    {
        Assert.DoesNotContain(Repository.Projects.Values, project => project.HasVersions);
        var loose = System.Xml.Linq.XDocument.Parse(Repository.Read("Directory.Packages.props"))
            .Descendants("PackageVersion")
            .Where(package => package.Attribute("Version") is not { Value: ['[', .., ']'] })
            .Select(package => package.Attribute("Include")?.Value);
        Assert.Empty(loose);
    }

    [Fact]
    public void No_package_has_a_commercial_license()
    {
        var versions = System.Xml.Linq.XDocument.Parse(Repository.Read("Directory.Packages.props"))
            .Descendants("PackageVersion")
            .ToDictionary(package => package.Attribute("Include")?.Value ?? "", package => package.Attribute("Version")?.Value ?? "");
        Assert.StartsWith("[8.", versions["MassTransit"], StringComparison.Ordinal);
        Assert.DoesNotContain("FluentAssertions", versions.Keys);
    }

    private static HashSet<string> Closure(string name)
    {
        var reached = new HashSet<string>();
        var open = new Stack<string>([name]);
        while (open.TryPop(out var next))
        {
            foreach (var reference in Repository.Projects[next].References.Where(reached.Add))
                open.Push(reference);
        }
        return reached;
    }
}
