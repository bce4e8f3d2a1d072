namespace Platform.Hosting.Ranks;

/// <summary>
/// How the C library allocates in a process that trains on CPUs. By default it gives every large block back to the kernel as
/// soon as it is freed, and a training step frees and allocates the same blocks again and again: each time the kernel clears
/// their pages, which took a tenth of a step. With these settings freed memory stays in the process for the next step, so a
/// rank keeps the size of its largest step.
/// </summary>
public static class TrainingAllocator
{
    /// <summary>
    /// Environment variables (mallopt(3)) that must be there when the process starts: no block of its own mapping, none given
    /// back, one arena for all threads.
    /// </summary>
    public static IReadOnlyDictionary<string, string> Environment { get; } = new Dictionary<string, string>(StringComparer.Ordinal)
    {
        ["MALLOC_ARENA_MAX"] = "1",
        ["MALLOC_MMAP_MAX_"] = "0",
        ["MALLOC_TRIM_THRESHOLD_"] = "1099511627776",
        ["MALLOC_TOP_PAD_"] = "67108864",
    };
}
