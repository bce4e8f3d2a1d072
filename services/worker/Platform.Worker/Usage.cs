namespace Platform.Worker;

/// <summary>What the program can do.</summary>
internal static class Usage
{
    public static int Print()
    {
        Console.Error.WriteLine("""
            usage: platform-worker agent [--Agent:Node NAME --Agent:DataDirectory DIR --Agent:SchedulerAddress URL ...]
                   platform-worker rank --launch FILE     (started by an agent)
            """);
        return 64;
    }
}
