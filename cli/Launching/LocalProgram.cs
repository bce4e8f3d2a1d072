namespace Platform.Cli.Launching;

/// <summary>A program of this platform that runs on this machine in place of this one.</summary>
/// <param name="Name">File name.</param>
/// <param name="Variable">Environment variable that names it.</param>
/// <param name="Project">Project whose build output it is.</param>
/// <param name="Build">Command that builds it.</param>
internal sealed record LocalProgram(string Name, string Variable, string Project, string Build)
{
    /// <summary>The whole platform.</summary>
    public static LocalProgram Standalone { get; } =
        new("platform-standalone", "PLATFORM_STANDALONE", "Platform.Standalone", "build/build.sh runtime");

    /// <summary>The benchmarks.</summary>
    public static LocalProgram Benchmarks { get; } =
        new("Platform.Benchmarks", "PLATFORM_BENCHMARKS", "Platform.Benchmarks", "build/build.sh all");

    /// <summary>
    /// Where it may be, in the order of preference: as <see cref="Variable"/> says, in the build output of the checkout
    /// that the launcher named (<c>PLATFORM_HOME</c>), beside this program, or in the build output around this program.
    /// </summary>
    public IReadOnlyList<string> Places(Func<string, string?> variable, string baseDirectory)
    {
        if (variable(Variable) is { Length: > 0 } named)
            return [Path.GetFullPath(named)];
        var places = new List<string>();
        if (variable("PLATFORM_HOME") is { Length: > 0 } home)
            places.Add(Path.Combine(home, "artifacts", "bin", Project, "release", Name));
        places.Add(Path.Combine(baseDirectory, Name));
        places.Add(Path.GetFullPath(Path.Combine(baseDirectory, "..", Name.Replace("platform-", "", StringComparison.Ordinal), Name)));
        places.Add(Path.GetFullPath(Path.Combine(baseDirectory, "..", "..", Project, "release", Name)));
        return places;
    }

    /// <summary>The first place that exists.</summary>
    /// <exception cref="CommandException">None does; the message says where was looked.</exception>
    public string Find(Func<string, string?> variable, string baseDirectory)
    {
        var places = Places(variable, baseDirectory);
        return places.FirstOrDefault(File.Exists)
            ?? throw new CommandException(
                $"The program {Name} was not found. Build it with '{Build}', or name it in {Variable}. Looked for:\n"
                + string.Join("\n", places.Select(place => "  " + place)));
    }
}
