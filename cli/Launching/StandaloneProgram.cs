namespace Platform.Cli.Launching;

/// <summary>Finds the program that runs the whole platform on this machine.</summary>
internal static class StandaloneProgram
{
    /// <summary>Environment variable that names it.</summary>
    public const string Variable = "PLATFORM_STANDALONE";

    private const string Name = "platform-standalone";

    /// <summary>
    /// Where it may be, in the order of preference: as <see cref="Variable"/> says, in the build output of the checkout
    /// that the launcher named (<c>PLATFORM_HOME</c>), beside this program, or in the build output around this program.
    /// </summary>
    public static IReadOnlyList<string> Places(Func<string, string?> variable, string baseDirectory)
    {
        if (variable(Variable) is { Length: > 0 } named)
            return [Path.GetFullPath(named)];
        var places = new List<string>();
        if (variable("PLATFORM_HOME") is { Length: > 0 } home)
            places.Add(Path.Combine(home, "artifacts", "bin", "Platform.Standalone", "release", Name));
        places.Add(Path.Combine(baseDirectory, Name));
        places.Add(Path.GetFullPath(Path.Combine(baseDirectory, "..", "standalone", Name)));
        places.Add(Path.GetFullPath(Path.Combine(baseDirectory, "..", "..", "Platform.Standalone", "release", Name)));
        return places;
    }

    /// <summary>The first place that exists.</summary>
    /// <exception cref="CommandException">None does; the message says where was looked.</exception>
    public static string Find(Func<string, string?> variable, string baseDirectory)
    {
        var places = Places(variable, baseDirectory);
        return places.FirstOrDefault(File.Exists)
            ?? throw new CommandException(
                $"The program {Name} was not found. Build it with 'build/build.sh runtime', or name it in {Variable}. Looked for:\n"
                + string.Join("\n", places.Select(place => "  " + place)));
    }
}
