using Xunit;

namespace Platform.Deploy.Tests;

/// <summary>The compose file.</summary>
public sealed class ComposeTests
{
    private static readonly Yaml Compose = Yaml.Load("deploy/compose/compose.yaml");

    private static IReadOnlyDictionary<string, Yaml> Services => Compose["services"].Entries;

    private static IEnumerable<(string Service, Yaml Definition, Dockerfile Image)> Own =>
        from service in Services
        let image = service.Value["image"].Text ?? ""
        where image.StartsWith("platform/", StringComparison.Ordinal)
        select (service.Key, service.Value, Dockerfile.OfImage(image));

    [Fact]
    public void Every_image_of_ours_has_a_dockerfile_and_every_other_a_version()
    {
        Assert.Contains(Own, each => each.Image.Name == "gateway");
        Expect.None(Services.Values.Select(service => service["image"].Text ?? "")
            .Where(image => !image.StartsWith("platform/", StringComparison.Ordinal) && !image.Contains(':', StringComparison.Ordinal)));
    }

    [Fact]
    public void Every_setting_is_an_option_of_a_service() =>
        Expect.None(
            from each in Own
            from name in each.Definition["environment"].Entries.Keys
            where !OptionKeys.Knows(name.Replace("__", ":", StringComparison.Ordinal))
            select $"{each.Service}: {name}");

    [Fact]
    public void Every_address_of_a_service_is_one_where_it_listens()
    {
        var addresses =
            from each in Own
            from setting in each.Definition["environment"].Entries
            where setting.Key.EndsWith("Address", StringComparison.Ordinal)
            select new Uri(setting.Value.Text ?? "");
        Assert.NotEmpty(addresses);
        Assert.All(addresses, address =>
            Assert.True(Dockerfile.OfImage(Services[address.Host]["image"].Text).ListensOn($"{address.Port}"), $"Nobody listens at {address}."));
    }

    [Fact]
    public void Every_published_port_is_one_that_the_image_opens() =>
        Expect.None(
            from each in Own
            from port in each.Definition["ports"].Items
            where !each.Image.Exposes.Contains(port.Text?.Split(':')[^1])
            select $"{each.Service}: {port}");

    [Fact]
    public void Volumes_are_declared_and_mounted_files_exist()
    {
        var declared = Compose["volumes"].Entries.Keys;
        var offences =
            from service in Services
            from volume in service.Value["volumes"].Items
            let source = (volume.Text ?? "").Split(':')[0]
            where source.StartsWith('.')
                ? !Path.Exists(Path.GetFullPath(source, Repository.At("deploy/compose")))
                : !declared.Contains(source)
            select $"{service.Key}: {volume}";
        Expect.None(offences);
    }

    [Fact]
    public void All_processes_see_the_artifact_store_under_the_same_path()
    {
        foreach (var (service, definition, image) in Own)
        {
            Assert.True(
                definition["volumes"].Items.Any(volume => volume.Text is "artifacts:/artifacts" or "artifacts:/artifacts:ro"),
                $"{service} does not see the artifact store.");
            var root = definition["environment"]["Artifacts__Root"].Text ?? image.Environment.GetValueOrDefault("Artifacts__Root", "/artifacts");
            Assert.Equal("/artifacts", root);
        }
    }

    [Fact]
    public void Services_wait_only_for_services_that_exist() =>
        Expect.None(Services.Values.SelectMany(service => service["depends_on"].Entries.Keys).Except(Services.Keys));

    [Fact]
    public void No_password_is_written_down()
    {
        var secrets =
            from service in Services.Values
            from setting in service["environment"].Entries
            where setting.Key.Contains("PASS", StringComparison.OrdinalIgnoreCase) || setting.Key.Contains("ConnectionString", StringComparison.Ordinal)
            select setting.Value.Text ?? "";
        Assert.All(secrets, secret => Assert.Contains("${", secret));
    }
}
