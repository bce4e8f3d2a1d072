using System.Globalization;

namespace Platform.Benchmarks.Training;

/// <summary>Arguments of the training benchmark.</summary>
/// <param name="Device"><c>cpu</c> or <c>cuda</c>.</param>
/// <param name="Quick">A small model and few steps, to see that it works.</param>
/// <param name="Rounds">Measured steps of each kind; the medians count.</param>
/// <param name="Parts">What to measure: bf16, fp32, mesh, collectives; on CUDA the models 1b, 3b, 7b.</param>
internal sealed record TrainOptions(string Device, bool Quick, int Rounds, IReadOnlySet<string> Parts)
{
    private static readonly string[] CpuParts = ["bf16", "fp32", "mesh", "collectives"];
    private static readonly string[] CudaParts = ["1b", "3b", "7b"];

    public const string Usage =
        "train [--device cpu|cuda] [--quick] [--rounds N] [--only bf16,fp32,mesh,collectives | 1b,3b,7b]";

    /// <summary>Reads the arguments.</summary>
    /// <exception cref="ArgumentException">One is unknown or out of range; the message says which.</exception>
    public static TrainOptions Parse(IReadOnlyList<string> args)
    {
        var options = new TrainOptions("cpu", false, 5, new HashSet<string>());
        for (var i = 0; i < args.Count; i++)
        {
            string Next() => ++i < args.Count ? args[i] : throw new ArgumentException($"{args[i - 1]} needs a value");
            options = args[i] switch
            {
                "--quick" => options with { Quick = true, Rounds = 2 },
                "--device" => options with { Device = Next() },
                "--rounds" => options with
                {
                    Rounds = int.TryParse(Next(), CultureInfo.InvariantCulture, out var rounds) && rounds is > 0 and < 1000
                        ? rounds
                        : throw new ArgumentException($"--rounds: {args[i]} is not a number from 1 to 999"),
                },
                "--only" => options with { Parts = Next().Split(',').ToHashSet(StringComparer.Ordinal) },
                var unknown => throw new ArgumentException($"there is no option {unknown}"),
            };
        }

        if (options.Device is not ("cpu" or "cuda"))
            throw new ArgumentException($"--device: {options.Device} is not cpu or cuda");
        var all = options.Device == "cuda" ? CudaParts : CpuParts;
        if (options.Parts.Count == 0)
            return options with { Parts = all.ToHashSet(StringComparer.Ordinal) };
        return options.Parts.Except(all).FirstOrDefault() is { } strange
            ? throw new ArgumentException($"--only: there is no part {strange}; there are {string.Join(", ", all)}")
            : options;
    }
}
