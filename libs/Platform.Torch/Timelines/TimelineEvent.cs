using Platform.Core.Gangs;

namespace Platform.Torch.Timelines;

/// <summary>Something that a rank did.</summary>
/// <param name="Name">What, such as "forward" or "all-reduce tensor group 0".</param>
/// <param name="Part">What its time counts as.</param>
/// <param name="Start">When it began, in ticks of <see cref="System.Diagnostics.Stopwatch"/>.</param>
/// <param name="Duration">How long it took, in the same ticks.</param>
/// <param name="Step">Step it belongs to, from 1.</param>
/// <param name="MicroBatch">Micro-batch it belongs to; null outside of any.</param>
/// <param name="Bytes">Bytes that it moved.</param>
/// <param name="Lane">0 on the rank's own thread, more on others.</param>
public readonly record struct TimelineEvent(
    string Name, StepPart Part, long Start, long Duration, int Step, int? MicroBatch, long Bytes, int Lane);
