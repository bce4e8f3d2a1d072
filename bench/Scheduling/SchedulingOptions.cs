namespace Platform.Benchmarks.Scheduling;

/// <summary>Arguments of the scheduling benchmark.</summary>
/// <param name="Openb">Directory of the openb trace; null when it is not given.</param>
/// <param name="Quick">Short forms, to see that it works.</param>
/// <param name="Parts">What to measure.</param>
internal sealed record SchedulingOptions(string? Openb, bool Quick, IReadOnlySet<string> Parts)
{
    public const string Usage = "scheduling [OPENB-DIRECTORY] [--quick] [--only packing,decisions,durable,kueue]";
    private static readonly string[] All = ["packing", "decisions", "durable", "kueue"];

    /// <summary>Reads the arguments.</summary>
    /// <exception cref="ArgumentException">One is unknown; the message says which.</exception>
    public static SchedulingOptions Parse(IReadOnlyList<string> args)
    {
        var options = new SchedulingOptions(null, false, All.ToHashSet(StringComparer.Ordinal));
        for (var i = 0; i < args.Count; i++)
        {
            options = args[i] switch
            {
                "--quick" => options with { Quick = true },
                "--only" => options with
                {
                    Parts = ++i < args.Count ? args[i].Split(',').ToHashSet(StringComparer.Ordinal) : throw new ArgumentException("--only needs a value"),
                },
                ['-', ..] unknown => throw new ArgumentException($"there is no option {unknown}"),
                var directory when options.Openb is null => options with { Openb = directory },
                var more => throw new ArgumentException($"'{more}' is one argument too many"),
            };
        }

        return options.Parts.Except(All).FirstOrDefault() is { } strange
            ? throw new ArgumentException($"--only: there is no part {strange}; there are {string.Join(", ", All)}")
            : options;
    }
}
