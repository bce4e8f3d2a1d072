using Platform.Core.Jobs;

namespace Platform.Scheduling.Planning;

/// <summary>What a kind of device can do, for predictions.</summary>
/// <param name="Kind">Name, such as <c>h100</c>.</param>
/// <param name="MemoryBytes">Memory of one.</param>
/// <param name="Bf16Flops">Dense bf16 matrix products, FLOP/s.</param>
/// <param name="Fp32Flops">The same in fp32.</param>
/// <param name="MemoryBandwidth">Bytes/s.</param>
/// <param name="NodeBandwidth">Bytes/s that one sends to others of its node.</param>
/// <param name="ClusterBandwidth">Bytes/s that one sends to other nodes.</param>
/// <param name="Efficiency">Share of the peak that training reaches in one rank on its own, pointwise work included.</param>
/// <param name="HalfRateTokens">Tokens per micro-batch at which matrix products reach half of that.</param>
/// <param name="HalfRateWidth">Hidden size, over the root of the tensor width, at which they do.</param>
/// <param name="OverlapsCommunication">Whether it computes at full speed while it communicates.</param>
public sealed record DeviceProfile(
    string Kind, long MemoryBytes, double Bf16Flops, double Fp32Flops, double MemoryBandwidth, double NodeBandwidth, double ClusterBandwidth,
    double Efficiency, double HalfRateTokens, double HalfRateWidth, bool OverlapsCommunication)
{
    private const long GiB = 1L << 30;

    /// <summary>What a collective or a message takes whatever its size, with a processor for each rank.</summary>
    public double CollectiveSeconds { get; init; }

    // Peaks, memory and links of the data sheets (SXM parts where there are any; NVLink and network per device and direction).
    // 0.6 of the peak: the best published training runs reach 0.49 to 0.5 of an H100 with their communication.
    private static readonly DeviceProfile[] Known =
    [
        new("a100", 80 * GiB, 312e12, 156e12, 2.0e12, 300e9, 25e9, 0.6, 256, 400, true),
        new("h100", 80 * GiB, 989e12, 495e12, 3.35e12, 450e9, 50e9, 0.6, 512, 600, true),
        new("h200", 141 * GiB, 989e12, 495e12, 4.8e12, 450e9, 50e9, 0.6, 512, 600, true),
        new("b200", 180 * GiB, 2250e12, 1100e12, 8.0e12, 900e9, 50e9, 0.55, 1024, 1000, true),
        new("l40s", 48 * GiB, 362e12, 183e12, 0.86e12, 25e9, 12.5e9, 0.5, 512, 600, true),
        new("a10g", 24 * GiB, 70e12, 35e12, 0.6e12, 12e9, 6e9, 0.6, 256, 400, true),

        // A virtual device: a quarter or less of a small machine. What ranks measure replaces its peak. Ranks that share
        // processors wait in each collective for one another's turns.
        new("cpu", 2 * GiB, 50e9, 20e9, 5e9, 0.5e9, 0.3e9, 0.8, 48, 64, false) { CollectiveSeconds = 0.6e-3 },
    ];

    /// <summary>Names of the known kinds.</summary>
    public static IReadOnlyList<string> Kinds { get; } = [.. Known.Select(profile => profile.Kind)];

    /// <summary>A kind by its name; <c>cuda</c>, a GPU of which nothing else is known, counts as an A100. Null for no known kind.</summary>
    public static DeviceProfile? Find(string kind) =>
        kind == "cuda"
            ? Known[0] with { Kind = "cuda" }
            : Known.FirstOrDefault(profile => profile.Kind.Equals(kind, StringComparison.OrdinalIgnoreCase));

    /// <summary>Matrix products in a precision, FLOP/s; double precision counts as half of single.</summary>
    public double Flops(Precision precision) => precision switch
    {
        Precision.BFloat16 => Bf16Flops,
        Precision.Float32 => Fp32Flops,
        _ => Fp32Flops / 2,
    };

    /// <summary>The same with a peak that was measured.</summary>
    public DeviceProfile WithFlops(double flops) => this with { Bf16Flops = flops, Fp32Flops = flops };
}
