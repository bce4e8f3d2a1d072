namespace Platform.Scheduling.Placement;

/// <summary>
/// Least loss expected by the time a node is full. Where FGD asks which part of a node's free devices the next rank could
/// not use, this asks what will be left of each device once all that may still come has come, and whether the node's
/// processors last as long as its devices; a rank goes where it adds least to that (docs/decisions/0019).
/// </summary>
/// <remarks>
/// For a device with r free, w(r) is the expected remainder: with probability q(r) = 1 − exp(−<see cref="Offers"/>·P(s ≤ r))
/// a rank that fits comes and leaves w(r − s), averaged over the mix; else r stays. A whole free device has a remainder
/// too, so that a kind that always wastes much is kept off it as long as better kinds are about. Processors: what the free
/// devices will need, by the mix's cores per device, less what is free, softened over one device's worth because the mix varies.
/// </remarks>
/// <param name="mix">What is usually asked for.</param>
public sealed class ForesightPolicy(WorkloadMix mix) : PlacementPolicy
{
    /// <summary>Ranks that are offered to a device before it is given up; larger hopes for better fits.</summary>
    public const double Offers = 30;

    private const int Whole = 1000;
    private const double TieBreak = 1e-3;
    private readonly Dictionary<(string Kind, string Model), Outlook> outlooks = [];

    /// <inheritdoc/>
    public override string Name => PlacementPolicies.Foresight;

    /// <summary>Expected remainder of a device with so much free, in thousandths.</summary>
    /// <param name="kind">Kind of device.</param>
    /// <param name="model">Its model.</param>
    /// <param name="freeMilli">What is free, [0, 1000].</param>
    public double Remainder(string kind, string model, int freeMilli) => OutlookOf(kind, model).Remainder[freeMilli];

    /// <inheritdoc/>
    protected override double Cost(NodeLedger node, RankRequest request, ReadOnlySpan<int> positions)
    {
        var outlook = node.Node.Devices.Count > 0 ? OutlookOf(node.Node.Devices[0].Kind, node.Node.Devices[0].Model) : Outlook.Nothing;
        Span<int> after = stackalloc int[node.FreeMilli.Length];
        node.FreeMilli.CopyTo(after);
        foreach (int position in positions)
        {
            after[position] -= request.DeviceMilli;
        }

        bool counted = node.Node.CpuMilli > 0;
        double change = outlook.Loss(counted, node.FreeCpuMilli - request.CpuMilli, after) - outlook.Loss(counted, node.FreeCpuMilli, node.FreeMilli);

        // Of equal places the one with least left free keeps larger ones whole.
        return change + (TieBreak * Total(after));
    }

    private static int Total(ReadOnlySpan<int> freeMilli)
    {
        int total = 0;
        foreach (int milli in freeMilli)
        {
            total += milli;
        }

        return total;
    }

    private Outlook OutlookOf(string kind, string model)
    {
        if (!outlooks.TryGetValue((kind, model), out var outlook))
        {
            outlooks[(kind, model)] = outlook = new Outlook(
                [.. mix.Typical.Where(entry => entry.Request.Devices > 0 && entry.Request.DeviceKind == kind && entry.Request.Accepts(model))]);
        }

        return outlook;
    }

    /// <summary>What may still come to a device of one type.</summary>
    private sealed class Outlook
    {
        public static readonly Outlook Nothing = new([]);
        private readonly double cpuPerMilli;

        public Outlook(IReadOnlyList<(RankRequest Request, double Weight)> kinds)
        {
            double[] share = new double[Whole + 1];
            foreach (var (request, weight) in kinds)
            {
                share[request.DeviceMilli] += weight * request.Devices;
            }

            double all = share.Sum();
            int[] sizes = [.. Enumerable.Range(1, Whole).Where(size => share[size] > 0)];
            for (int milli = 1; milli <= Whole; milli++)
            {
                double fitting = 0, left = 0;
                foreach (int size in sizes)
                {
                    if (size > milli)
                    {
                        break;
                    }

                    fitting += share[size];
                    left += share[size] * Remainder[milli - size];
                }

                double comes = all > 0 ? 1 - Math.Exp(-Offers * fitting / all) : 0;
                Remainder[milli] = fitting > 0 ? ((1 - comes) * milli) + (comes * left / fitting) : milli;
            }

            double devices = kinds.Sum(kind => kind.Weight * kind.Request.TotalMilli);
            cpuPerMilli = devices > 0 ? kinds.Sum(kind => kind.Weight * kind.Request.CpuMilli) / devices : 0;
        }

        public double[] Remainder { get; } = new double[Whole + 1];

        public double Loss(bool processorsCounted, long cpuMilli, ReadOnlySpan<int> freeMilli)
        {
            double loss = 0;
            foreach (int milli in freeMilli)
            {
                loss += Remainder[milli];
            }

            if (!processorsCounted || cpuPerMilli <= 0)
            {
                return loss;
            }

            double lacking = (Total(freeMilli) - (cpuMilli / cpuPerMilli)) / Whole;
            return loss + (Whole * (lacking > 30 ? lacking : Math.Log(1 + Math.Exp(lacking))));
        }
    }
}
