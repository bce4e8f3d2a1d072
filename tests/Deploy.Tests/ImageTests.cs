using System.Text.Json;
using System.Xml.Linq;
using Xunit;

namespace Platform.Deploy.Tests;

/// <summary>The container images.</summary>
public sealed class ImageTests
{
    public static TheoryData<string> Images => [.. Dockerfile.All.Select(file => file.Name)];

    [Fact]
    public void There_is_an_image_for_every_published_service_and_no_other() =>
        Assert.Equal(Dockerfile.Published.Keys.Order(), Dockerfile.All.Select(file => file.Name).Order());

    [Theory]
    [MemberData(nameof(Images))]
    public void Runs_as_a_numbered_user_that_is_not_root(string image)
    {
        var file = Of(image);
        var user = file.Arguments("USER").Last();
        Assert.Matches("^[1-9][0-9]*:[1-9][0-9]*$", user);
        Assert.Contains($"--uid {user.Split(':')[0]} ", string.Join('\n', file.Arguments("RUN")));
        // Nothing is installed or copied as another user after that.
        var after = file.Instructions.SkipWhile(each => each.Instruction != "USER").Select(each => each.Instruction);
        Expect.None(after.Intersect(["RUN", "COPY", "ADD"]));
    }

    [Theory]
    [MemberData(nameof(Images))]
    public void Copies_only_what_is_published(string image)
    {
        var sources = Of(image).Arguments("COPY").Select(arguments => arguments.Split(' ')[0].TrimEnd('/')).ToList();
        Assert.NotEmpty(sources);
        Expect.None(sources.Except([.. Dockerfile.Published.Keys, "libtorch"]));
        Expect.None(Of(image).Arguments("ADD"));
    }

    [Theory]
    [MemberData(nameof(Images))]
    public void Starts_programs_that_were_copied_under_the_name_that_their_project_gives_them(string image)
    {
        var file = Of(image);
        var entry = JsonSerializer.Deserialize<string[]>(file.Arguments("ENTRYPOINT").Single()) ?? [];
        var programs = file.Environment.Where(pair => pair.Key.Contains("Command__0", StringComparison.Ordinal)).Select(pair => pair.Value).Prepend(entry[0]);
        foreach (var program in programs)
        {
            var directory = file.Arguments("COPY").Select(arguments => arguments.Split(' ')).Single(copy => copy[1].TrimEnd('/') == Path.GetDirectoryName(program))[0];
            Assert.Equal(AssemblyName(Dockerfile.Published[directory.TrimEnd('/')]), Path.GetFileName(program));
        }
    }

    [Theory]
    [MemberData(nameof(Images))]
    public void Sets_only_options_that_exist(string image) =>
        Expect.None(Of(image).Environment.Keys.Where(name => name.Contains("__", StringComparison.Ordinal))
            .Where(name => !OptionKeys.Knows(name.Replace("__", ":", StringComparison.Ordinal))));

    [Theory]
    [MemberData(nameof(Images))]
    public void Opens_the_ports_that_it_listens_on(string image)
    {
        var file = Of(image);
        var opened = file.Exposes.ToList();
        Expect.None(opened.Where(port => !file.ListensOn(port)));
        var listens = file.Environment.Where(pair => pair.Key.EndsWith("Listen", StringComparison.Ordinal)).Select(pair => pair.Value.Split(':')[1]);
        Expect.None(listens.Except(opened));
    }

    [Theory]
    [MemberData(nameof(Images))]
    public void Its_user_owns_the_directories_that_it_writes_to(string image)
    {
        var file = Of(image);
        var commands = string.Join(" ", file.Arguments("RUN"));
        foreach (var (name, directory) in file.Environment)
        {
            if (name is "Artifacts__Root" or "Agent__DataDirectory" or "Standalone__Data")
                Assert.Matches($@"mkdir -p [^&]*{directory}\b.*chown platform:platform [^&]*{directory}\b", commands);
        }
    }

    private static Dockerfile Of(string image) => Dockerfile.All.Single(file => file.Name == image);

    private static string AssemblyName(string folder)
    {
        var project = Directory.EnumerateFiles(Repository.At(folder), "*.csproj").Single();
        return XDocument.Load(project).Descendants("AssemblyName").SingleOrDefault()?.Value ?? Path.GetFileNameWithoutExtension(project);
    }
}
